"""What is written together is sent together, and nothing of it is lost."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched_server.cork import Cork


class Wire(asyncio.Transport):
    """Keeps what it was told."""

    def __init__(self) -> None:
        super().__init__({"peername": "somebody"})
        self.sent: list[bytes] = []
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closing
        self.sent.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True


@given(st.lists(st.lists(st.binary(max_size=5), min_size=1, max_size=4), max_size=4), st.booleans())
def test_each_turn_of_the_loop_sends_once(turns: list[list[bytes]], close_at_once: bool) -> None:
    async def main() -> None:
        wire = Wire()
        cork = Cork(wire, asyncio.get_running_loop())
        for turn in turns:
            for data in turn:
                cork.write(data)
            if turn is not turns[-1] or not close_at_once:
                await asyncio.sleep(0)
        cork.close()
        assert wire.sent == [b"".join(turn) for turn in turns]
        assert wire.closing

    asyncio.run(main())


@pytest.mark.parametrize("how", ["lost", "closed"])
def test_nothing_is_sent_where_nobody_is(how: str) -> None:
    async def main() -> None:
        wire = Wire()
        cork = Cork(wire, asyncio.get_running_loop())
        cork.write(b"late")
        wire.closing = True
        if how == "closed":
            cork.close()
        await asyncio.sleep(0)
        assert wire.sent == []
        assert cork.get_extra_info("peername") == "somebody"

    asyncio.run(main())
