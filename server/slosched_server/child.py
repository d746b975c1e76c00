"""One life of an engine process, from its start to the end of the last of its group."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory

from slosched.core.errors import EngineError
from slosched_server import leash

# Results are on stdout, so all that the engine prints goes to stderr.
_STDERR = 2


@dataclass(frozen=True, slots=True)
class EngineCommand:
    """How the engine is started: its arguments, and what is added to our environment."""

    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@asynccontextmanager
async def running(command: EngineCommand, grace_s: float) -> AsyncIterator[Process]:
    """Start the engine in a process group of its own, and end the group on leaving.

    Parameters
    ----------
    command
        What to start.
    grace_s
        Seconds between SIGTERM and SIGKILL.

    Raises
    ------
    EngineError
        If it cannot be executed at all.
    """
    # Metrics of vLLM's processes meet in a folder that has to be empty at each start.
    with TemporaryDirectory(prefix="slosched-", ignore_cleanup_errors=True) as metrics_dir:
        process = await _start(
            command, {"PROMETHEUS_MULTIPROC_DIR": metrics_dir, **command.environment}
        )
        try:
            yield process
        finally:
            await _end(process, grace_s)


async def _start(command: EngineCommand, environment: Mapping[str, str]) -> Process:
    leashed = [sys.executable, "-I", "-S", leash.__file__, str(os.getpid())]
    try:
        return await asyncio.create_subprocess_exec(
            *leashed,
            *command.arguments,
            stdin=DEVNULL,
            stdout=_STDERR,
            stderr=_STDERR,
            env={**os.environ, **environment},
            # A Ctrl-C in the terminal is for us: the engine first finishes what is in flight.
            start_new_session=True,
        )
    except OSError as error:
        raise EngineError(f"the engine cannot be started: {error}") from error


async def _end(process: Process, grace_s: float) -> None:
    try:
        _signal_group(process, signal.SIGTERM)
        async with asyncio.timeout(grace_s):
            await process.wait()
    except TimeoutError:
        pass
    finally:
        # Also when we are told to hurry, and where the engine died but left workers behind.
        _signal_group(process, signal.SIGKILL)
    await process.wait()


def _signal_group(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
