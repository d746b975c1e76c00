"""Keeps an engine running: starts it, waits until it serves, and starts it again if it dies."""

import asyncio
import time
from asyncio.subprocess import Process
from dataclasses import dataclass
from typing import NoReturn

import structlog

from slosched.core.errors import EngineError
from slosched_server.child import EngineCommand, running
from slosched_server.settings import ServerSettings
from slosched_server.upstream import Upstream, healthy

log = structlog.get_logger()

_LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True, slots=True)
class _Life:
    """How one life of the engine went: why it ended, and for how many seconds it served."""

    end: str
    served_s: float | None


@dataclass(frozen=True, slots=True)
class Supervisor:
    """Looks after one engine.

    Parameters
    ----------
    command
        How to start it.
    upstream
        Where it answers `/health`.
    settings
        When to restart it and how long to wait for it.
    grace_s
        Seconds between SIGTERM and SIGKILL.
    pause_s
        Seconds before the first restart in a row; doubles with each.
    steady_s
        Once it has served this long, its next death starts a new row.
    poll_s
        Seconds between two looks at a starting engine.
    """

    command: EngineCommand
    upstream: Upstream
    settings: ServerSettings
    grace_s: float = 15.0
    pause_s: float = 1.0
    steady_s: float = 60.0
    poll_s: float = 0.2

    async def run(self) -> NoReturn:
        """Run until cancelled, which ends the engine too.

        Raises
        ------
        EngineError
            If the engine never comes up at first, or ends and is not to be restarted again.
        """
        restarts, has_served = 0, False
        while True:
            life = await self._live()
            has_served = has_served or life.served_s is not None
            if not has_served or self.settings.on_engine_exit == "exit":
                # What never came up is set up wrongly: trying again would hide it.
                raise EngineError(life.end)
            restarts = 1 if (life.served_s or 0.0) >= self.steady_s else restarts + 1
            if restarts > self.settings.max_restarts:
                raise EngineError(f"{life.end}; gave up after {restarts - 1} restarts in a row")
            pause_s = min(self.pause_s * 2 ** (restarts - 1), _LONGEST_PAUSE_S)
            log.warning(life.end, restart=restarts, pause_s=pause_s)
            await asyncio.sleep(pause_s)

    async def _live(self) -> _Life:
        async with running(self.command, self.grace_s) as process:
            born = time.monotonic()
            log.info("engine starting", pid=process.pid)
            if not await self._comes_up(process):
                return _Life(_why_not_up(process, self.settings), None)
            ready = time.monotonic()
            log.info("engine ready", after_s=round(ready - born, 1))
            code = await process.wait()
            return _Life(f"the engine ended by itself ({_ending(code)})", time.monotonic() - ready)

    async def _comes_up(self, process: Process) -> bool:
        try:
            async with asyncio.timeout(self.settings.engine_start_timeout_s):
                while process.returncode is None:
                    if await healthy(self.upstream, self.settings.connect_timeout_s):
                        return True
                    await asyncio.sleep(self.poll_s)
        except TimeoutError:
            pass
        return False


def _why_not_up(process: Process, settings: ServerSettings) -> str:
    if process.returncode is None:
        return f"the engine did not answer /health within {settings.engine_start_timeout_s:g} s"
    return f"the engine failed to start ({_ending(process.returncode)}); its output is above"


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"
