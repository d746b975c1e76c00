"""The engine is restarted, given up on and ended as the settings say, and leaves nothing behind."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from structlog.testing import capture_logs

from slosched.core.errors import EngineError
from slosched_server.child import EngineCommand
from slosched_server.http_upstream import HttpUpstream
from slosched_server.listen import free_port
from slosched_server.settings import ServerSettings
from slosched_server.supervisor import Supervisor
from tests.server.processes import wait_until_gone
from tests.server.serve_fake import FAKE_ENGINE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

HANG_S = 120


class Supervised:
    """A fake engine under a supervisor, and what a test may do to it."""

    def __init__(self, pid_file: Path, manner: str, settings: ServerSettings) -> None:
        self.pid_file = pid_file
        port = free_port("127.0.0.1", 0)
        self._url = f"http://127.0.0.1:{port}"
        self._upstream = HttpUpstream(self._url, 5.0)
        environment = {"FAKE_ENGINE": manner, "FAKE_ENGINE_PIDS": str(pid_file)}
        command = EngineCommand([sys.executable, FAKE_ENGINE, "--port", str(port)], environment)
        self._supervisor = Supervisor(
            command, self._upstream, settings, grace_s=1.0, pause_s=0.01, poll_s=0.02
        )

    def run(self, story: Callable[["Supervised"], Awaitable[None]]) -> None:
        """Supervise until the story ends, or raise why the supervisor ended before."""

        async def main() -> None:
            async with asyncio.timeout(HANG_S), self._upstream:
                run = asyncio.ensure_future(self._supervisor.run())
                told = asyncio.ensure_future(story(self))
                try:
                    await asyncio.wait({run, told}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    run.cancel()
                    told.cancel()
                    await asyncio.wait({run, told})
                for task in (told, run):
                    if not task.cancelled():
                        task.result()

        with capture_logs() as self._logs:
            asyncio.run(main())

    async def started(self, times: int) -> None:
        """Wait until it has come up so many times."""
        while self._times_ready() < times:  # noqa: ASYNC110 - a log is no event to wait for
            await asyncio.sleep(0.02)

    def _times_ready(self) -> int:
        return [line["event"] for line in self._logs].count("engine ready")

    async def crash(self) -> None:
        async with aiohttp.ClientSession() as client:
            with pytest.raises(aiohttp.ClientError):
                await client.post(f"{self._url}/v1/completions", data=b"{}")


Make = Callable[..., Supervised]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def engine(manner: str, **settings: object) -> Supervised:
        return Supervised(tmp_path / "pids", manner, ServerSettings(**settings))  # type: ignore[arg-type]

    return engine


async def crash_thrice(engine: Supervised) -> None:
    for life in (1, 2, 3):
        await engine.started(life)
        await engine.crash()
    await asyncio.Event().wait()


def test_an_engine_that_ends_by_itself_is_started_again(make: Make) -> None:
    async def story(engine: Supervised) -> None:
        for life in (1, 2, 3):
            await engine.started(life)
            await engine.crash()
        await engine.started(4)

    engine = make("crashes", max_restarts=3)
    engine.run(story)
    wait_until_gone(engine.pid_file, 4)


def test_it_is_given_up_after_some_restarts_in_a_row(make: Make) -> None:
    engine = make("crashes", max_restarts=2)
    with pytest.raises(EngineError, match=r"exit code 7\); gave up after 2 restarts in a row"):
        engine.run(crash_thrice)
    wait_until_gone(engine.pid_file, 3)


def test_it_is_not_restarted_where_nobody_wants_it(make: Make) -> None:
    engine = make("crashes", on_engine_exit="exit")
    with pytest.raises(EngineError, match=r"ended by itself \(exit code 7\)"):
        engine.run(crash_thrice)
    wait_until_gone(engine.pid_file)


@pytest.mark.parametrize("manner", ["fails", "family fails"])
def test_one_that_never_came_up_is_not_tried_again(make: Make, manner: str) -> None:
    engine = make(manner)
    with pytest.raises(EngineError, match=r"failed to start \(exit code 1\)"):
        engine.run(lambda _: asyncio.Event().wait())  # type: ignore[arg-type,return-value]
    wait_until_gone(engine.pid_file, len(manner.split()))


def test_one_that_takes_too_long_to_start_is_ended(make: Make) -> None:
    engine = make("never ready", engine_start_timeout_s=0.5)
    with pytest.raises(EngineError, match=r"did not answer /health within 0\.5 s"):
        engine.run(lambda _: asyncio.Event().wait())  # type: ignore[arg-type,return-value]
    wait_until_gone(engine.pid_file, 0)


def test_a_program_that_is_not_there_is_an_engine_error(tmp_path: Path) -> None:
    async def main() -> None:
        async with HttpUpstream("http://127.0.0.1:9", 5.0) as upstream:
            command = EngineCommand([str(tmp_path / "nothing")])
            await Supervisor(command, upstream, ServerSettings()).run()

    with pytest.raises(EngineError, match="failed to start"):
        asyncio.run(main())


@pytest.mark.parametrize("manner", ["family", "stubborn family"])
def test_the_whole_group_ends_with_the_supervisor(make: Make, manner: str) -> None:
    """Also those in it that ignore SIGTERM."""

    async def story(engine: Supervised) -> None:
        await engine.started(1)

    engine = make(manner)
    engine.run(story)
    wait_until_gone(engine.pid_file, 2)
