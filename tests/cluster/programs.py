"""Starts programs for a test: each logs to a file, and none outlives the test or its runner."""

import asyncio
import contextlib
import os
import signal
import sys
import uuid
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.cluster import watchdog

# What a container has of the runner's environment: where programs, this project and its caches are.
KEPT = ("PATH", "PYTHONPATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV", "XDG_CACHE_HOME")
KEPT_PREFIXES = ("NUMBA_", "LD_", "COVERAGE_")


class Programs:
    """Programs of one test."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self._mark = uuid.uuid4().hex
        self._watchdog: Process | None = None

    async def __aenter__(self) -> Self:
        self.logs.mkdir(parents=True, exist_ok=True)
        self._watchdog = await asyncio.create_subprocess_exec(
            sys.executable, watchdog.__file__, self._mark, stdin=PIPE, start_new_session=True
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Leave nothing running, as the watchdog does when this process is no more."""
        assert self._watchdog is not None
        assert self._watchdog.stdin is not None
        self._watchdog.stdin.close()
        await self._watchdog.wait()

    async def start(
        self, name: str, argv: Sequence[str], environ: Mapping[str, str] | None = None
    ) -> Process:
        """Start one as a leader of a process group, whose output is appended to logs/NAME.log."""
        with (self.logs / f"{name}.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *argv,
                env=dict(environ if environ is not None else kept()) | {watchdog.MARK: self._mark},
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def kept() -> dict[str, str]:
    """Give what programs get of this process's environment; this Python's commands come first."""
    found = {k: v for k, v in os.environ.items() if k in KEPT or k.startswith(KEPT_PREFIXES)}
    return found | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def signal_group(process: Process, number: signal.Signals) -> None:
    """Send a signal to a program and to all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


async def stop(process: Process, grace_s: float) -> None:
    """Ask it to end, wait, and kill it and what it has left."""
    if process.returncode is None:
        process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await process.wait()
    signal_group(process, signal.SIGKILL)
    await process.wait()
