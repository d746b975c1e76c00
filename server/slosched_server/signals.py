"""Being told to stop: once to come to an end, once more to end at once."""

import asyncio
import signal

import structlog

log = structlog.get_logger()

_SAME_SIGNAL_S = 0.5


class StopSignals:
    """SIGINT and SIGTERM, from now on; made in a running loop."""

    def __init__(self) -> None:
        self._came: asyncio.Queue[signal.Signals] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._came.put_nowait, number)

    async def first(self) -> None:
        """Wait until this process is to stop."""
        await self._came.get()

    async def again(self) -> None:
        """Wait until it is to stop at once."""
        # Some wrappers relay a Ctrl-C that we have got as well: that is one and the same.
        await asyncio.sleep(_SAME_SIGNAL_S)
        while not self._came.empty():
            self._came.get_nowait()
        log.info("once more to stop at once")
        await self._came.get()
