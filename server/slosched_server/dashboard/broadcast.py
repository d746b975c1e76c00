"""One message a tick for all who watch, and none if nobody does."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

import structlog

from slosched_server.errors import ApiError

log = structlog.get_logger()


class Broadcast:
    """Makes messages while anybody watches; to be closed.

    Parameters
    ----------
    make
        Makes a message; once a tick, however many watch.
    every_s
        Seconds from one message to the next.
    most
        How many may watch.
    """

    def __init__(self, make: Callable[[], Awaitable[bytes]], every_s: float, most: int) -> None:
        self._make, self._every_s, self._most = make, every_s, most
        self._watchers = 0
        self._over = False
        self._newest: bytes | None = None
        self._next: asyncio.Future[bytes | None] | None = None
        self._ticking: asyncio.Task[None] | None = None

    def check_room(self) -> None:
        """Raise `ApiError` if too many watch already, or it is closed."""
        if self._over or self._watchers >= self._most:
            why = "this server stops" if self._over else f"{self._most} watch already"
            raise ApiError(503, why, "too_many_watchers", kind="api_error")

    async def watch(self) -> AsyncGenerator[bytes, None]:
        """Yield the newest message, then each that follows; who is slow gets fewer of them.

        It ends when this is closed, or a message cannot be made. Raises as `check_room`.
        """
        self.check_room()
        self._watchers += 1
        if self._ticking is None:
            self._next = asyncio.get_running_loop().create_future()
            self._ticking = asyncio.create_task(self._tick())
            self._ticking.add_done_callback(self._ticked)
        try:
            message = self._newest
            while True:
                if message is not None:
                    yield message
                if self._next is None:
                    return
                message = await asyncio.shield(self._next)
                if message is None:
                    return
        finally:
            self._watchers -= 1
            if not self._watchers and self._ticking is not None:
                ticking, self._ticking, self._next, self._newest = self._ticking, None, None, None
                ticking.cancel()

    def close(self) -> None:
        """Let everybody go who watches."""
        self._over = True
        if self._ticking is not None:
            self._ticking.cancel()

    async def _tick(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            message = await self._make()
            said, self._next = self._next, asyncio.get_running_loop().create_future()
            self._newest = message
            if said is not None:
                said.set_result(message)
            await asyncio.sleep(max(self._every_s - (clock() - began), 0.0))

    def _ticked(self, task: asyncio.Task[None]) -> None:
        if task is not self._ticking:  # nobody watched any more
            return
        said, self._next = self._next, None
        self._newest = self._ticking = None
        if said is not None:
            said.set_result(None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("dashboard failed", reason=repr(error))
