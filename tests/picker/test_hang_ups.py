"""Law 1 down to the wire: whatever comes in one read with a hang-up, nothing is left of it."""

import asyncio
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from hypothesis import given
from hypothesis import strategies as st

from slosched_server.picker.ext_proc_pb2 import BUFFERED, FULL_DUPLEX_STREAMED, NONE
from slosched_server.picker.grpc_connection import GrpcConnection
from slosched_server.picker.health import EXTERNAL_PROCESSOR
from slosched_server.picker.service import picker_methods
from tests.picker.desks import Picker, desk
from tests.picker.fake_envoy import answer_body, answer_head, body, head

_CALL = [
    (b":method", b"POST"),
    (b":path", f"/{EXTERNAL_PROCESSOR}/Process".encode()),
    (b":scheme", b"http"),
    (b":authority", b"picker"),
]
_MODES = st.sampled_from([(BUFFERED, NONE), (FULL_DUPLEX_STREAMED, FULL_DUPLEX_STREAMED)])


class Wire(asyncio.Transport):
    """Envoy's end of a connection, which decides what comes in one read."""

    def __init__(self, picker: Picker) -> None:
        super().__init__()
        self._http = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        self._http.initiate_connection()
        self._back = b""
        methods = picker_methods(picker.desk, picker.health)
        self._connection = GrpcConnection(methods, 1 << 20, set())
        self._connection.connection_made(self)

    def write(self, data: Any) -> None:
        self._back += data

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Take all at once."""

    def close(self) -> None:
        """Stay: calls have to end by themselves."""

    def call(self) -> int:
        stream: int = self._http.get_next_available_stream_id()
        self._http.send_headers(stream, _CALL)
        return stream

    def say(self, stream: int, message: Any) -> None:
        raw = message.SerializeToString()
        self._http.send_data(stream, b"\x00%b%b" % (len(raw).to_bytes(4), raw))

    def hang_up(self, stream: int, *, end: bool) -> None:
        if end:
            self._http.end_stream(stream)
        self._http.reset_stream(stream)

    async def leave(self) -> None:
        """Let all that was said be read at once, and what comes of it happen."""
        self._connection.data_received(self._http.data_to_send())
        for _ in range(5):
            await asyncio.sleep(0)
        back, self._back = self._back, b""
        self._http.receive_data(back)

    @property
    def calls(self) -> int:
        """How many the other end knows of."""
        return len(vars(self._connection)["_calls"]) + len(vars(self._connection)["_tasks"])


@given(
    st.lists(
        st.tuples(_MODES, st.integers(0, 5), st.lists(st.booleans(), min_size=6, max_size=6)),
        min_size=1,
        max_size=4,
    ),
    st.booleans(),
)
def test_law_1_who_hangs_up_leaves_nothing_whatever_it_said_last(
    exchanges: list[tuple[tuple[Any, Any], int, list[bool]]], end: bool
) -> None:
    """After so many messages, of which any may come with the next, and the last with its end."""

    async def main() -> None:
        async with desk("fleet.probe_every_s=0.01", slots=1) as picker:
            wire = Wire(picker)
            for (mode, shown), said, leaves in exchanges:
                stream = wire.call()
                messages = [
                    head(mode=mode, shown=shown),
                    body(b'{"stream":true}'),
                    answer_head(),
                    answer_body(b"data: a\n\n"),
                    answer_body(b"data: b\n\n"),
                ]
                for message, alone in zip(messages[:said], leaves, strict=False):
                    wire.say(stream, message)
                    if alone:
                        await wire.leave()
                wire.hang_up(stream, end=end)
                await wire.leave()
            await picker.until(lambda: picker.empty and not wire.calls)

    asyncio.run(main())
