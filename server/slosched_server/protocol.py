"""HTTP/1.1 for clients that would rather speak something else: they are served all the same."""

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Http1(HttpToolsProtocol):
    """Uvicorn's own, but for `Upgrade`, which a server may ignore (RFC 9110, section 7.8).

    Java's HTTP client asks for h2c with each request. The parser takes what follows the headers
    of such a request for another protocol, and its body would be lost; so the request is parsed
    once more without what it asks for.
    """

    def data_received(self, data: bytes) -> None:
        """Take bytes that the client sent."""
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            head = self._without_upgrade()
            tunnels = self.parser.get_method() == b"CONNECT"
            self.parser = HttpRequestParser(self)
            if tunnels:
                self.send_400_response("CONNECT is for proxies of other servers.")
            else:
                self.data_received(head + data[upgrade.args[0] :])
        except HttpParserError:
            self.send_400_response("Invalid HTTP request received.")

    def on_headers_complete(self) -> None:
        """Begin with the request, unless it is to be parsed once more."""
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End the request's body, unless it is to be parsed once more."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def _without_upgrade(self) -> bytes:
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        fields = [b"%b: %b" % pair for pair in self.headers if pair[0] != b"upgrade"]
        return b"\r\n".join([b"%b %b HTTP/%b" % (method, self.url, version), *fields, b"", b""])
