"""Server-sent events, as far as OpenAI's API uses them."""

from collections.abc import Iterator

_DATA = b"data:"


class Events:
    """Cuts a byte stream into the payloads of its events, however it is split into pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Yield the payload of every `data:` line that the piece ends; other lines say nothing."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(_DATA):
                yield line[len(_DATA) :].strip()
