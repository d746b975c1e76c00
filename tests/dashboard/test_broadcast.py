"""One message a tick for all: several watchers, slow ones, none, and the end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from slosched_server.dashboard.broadcast import Broadcast
from slosched_server.errors import ApiError


class Numbers:
    """Makes a message of how many it has made, whenever it is let."""

    def __init__(self) -> None:
        self.made = 0
        self.allowed = asyncio.Semaphore(0)

    async def __call__(self) -> bytes:
        await self.allowed.acquire()
        self.made += 1
        return b"%d" % self.made

    async def more(self, times: int = 1) -> None:
        """Let some be made, and wait until they are said."""
        wanted = self.made + times
        for _ in range(times):
            self.allowed.release()
        while self.made < wanted:  # noqa: ASYNC110 - what is made is said in the same turn
            await asyncio.sleep(0)
        await asyncio.sleep(0)


def broadcast(numbers: Numbers, most: int = 8) -> Broadcast:
    return Broadcast(numbers, 0.0, most)


async def take(messages: AsyncIterator[bytes], number: int) -> list[bytes]:
    return [await anext(messages) for _ in range(number)]


def test_all_who_watch_get_the_same_message_made_once() -> None:
    async def main() -> None:
        numbers = Numbers()
        cast = broadcast(numbers)
        async with aclosing(cast.watch()) as one, aclosing(cast.watch()) as two:
            both = asyncio.gather(take(one, 2), take(two, 2))
            await asyncio.sleep(0)
            await numbers.more()
            await numbers.more()
            assert list(await both) == [[b"1", b"2"]] * 2
            async with aclosing(cast.watch()) as late:
                assert await anext(late) == b"2"  # at once
            assert numbers.made == 2

    asyncio.run(main())


def test_who_is_slow_skips() -> None:
    async def main() -> None:
        numbers = Numbers()
        cast = broadcast(numbers)
        async with aclosing(cast.watch()) as slow:
            first = asyncio.ensure_future(anext(slow))
            await asyncio.sleep(0)
            await numbers.more()
            assert await first == b"1"
            await numbers.more(5)
            newest = asyncio.ensure_future(anext(slow))
            await asyncio.sleep(0)
            await numbers.more()
            assert await newest == b"7"

    asyncio.run(main())


def test_nothing_is_made_while_nobody_watches() -> None:
    async def main() -> None:
        numbers = Numbers()
        cast = broadcast(numbers)
        for _ in range(2):
            async with aclosing(cast.watch()) as messages:
                waiting = asyncio.ensure_future(anext(messages))
                await asyncio.sleep(0)
                await numbers.more()
                await waiting
            made = numbers.made
            numbers.allowed.release()
            await asyncio.sleep(0.01)
            assert numbers.made == made
            await numbers.allowed.acquire()

    asyncio.run(main())


def test_more_than_may_watch_are_refused() -> None:
    async def main() -> None:
        numbers = Numbers()
        cast = broadcast(numbers, most=1)
        async with aclosing(cast.watch()) as one:
            waiting = asyncio.ensure_future(anext(one))
            await asyncio.sleep(0)
            with pytest.raises(ApiError, match="1 watch already"):
                cast.check_room()
            with pytest.raises(ApiError, match="1 watch already"):
                await anext(cast.watch())
            await numbers.more()
            await waiting
        cast.check_room()

    asyncio.run(main())


@pytest.mark.parametrize("closed", [True, False])
def test_it_ends_when_it_is_closed_or_nothing_can_be_made(closed: bool) -> None:
    async def fails() -> bytes:
        await asyncio.sleep(0)
        if closed:
            await asyncio.Event().wait()
        raise RuntimeError("no")

    async def main() -> None:
        cast = Broadcast(fails, 0.0, 8)

        async def all_of_it() -> list[bytes]:
            return [message async for message in cast.watch()]

        both = asyncio.gather(all_of_it(), all_of_it())
        await asyncio.sleep(0.01)
        if closed:
            cast.close()
        assert not any(await both)
        if closed:
            with pytest.raises(ApiError, match="this server stops"):
                await anext(cast.watch())
            assert cast._watchers == 0

    asyncio.run(main())
