"""An engine that costs next to nothing: the same bytes for every request.

python benchmarks/trivial_engine.py PORT
"""

import asyncio
import sys

_JSON = b'{"id":"x","object":"text_completion","choices":[{"index":0,"text":"a"}]}'
_EVENT = b'data: {"id":"x","object":"text_completion","choices":[{"index":0,"text":"a"}]}\n\n'
_EVENTS = 20
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
_WHOLE = _HEAD % len(_JSON) + _JSON
_MODELS = b'{"object":"list","data":[{"id":"m","object":"model","owned_by":"vllm"}]}'
_LISTED = _HEAD % len(_MODELS) + _MODELS
_STREAM = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
_CHUNK = b"%x\r\n%b\r\n" % (len(_EVENT), _EVENT)
_END = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


class Trivial(asyncio.Protocol):
    """Answers whole requests, one after the other; streams a chunk at a time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._read = b""

    def data_received(self, data: bytes) -> None:
        self._read += data
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            head = self._read[:end].lower()
            length = 0
            if (at := head.find(b"content-length:")) >= 0:
                length = int(head[at + 15 :].split(b"\r\n", 1)[0])
            if len(self._read) < end + 4 + length:
                return
            body = self._read[end + 4 : end + 4 + length]
            self._read = self._read[end + 4 + length :]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"get"):
            self._transport.write(_LISTED)
        elif b'"stream": true' in body or b'"stream":true' in body:
            self._transport.write(_STREAM)
            asyncio.get_running_loop().call_soon(self._go_on, _EVENTS)
        else:
            self._transport.write(_WHOLE)

    def _go_on(self, left: int) -> None:
        if left == 0:
            self._transport.write(_END)
            return
        self._transport.write(_CHUNK)
        asyncio.get_running_loop().call_soon(self._go_on, left - 1)


async def _serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Trivial, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
