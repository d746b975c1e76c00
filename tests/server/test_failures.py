"""What docs/failures.md says of the front end, where no other test shows it."""

import asyncio
import http.client
import json
import resource
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from slosched.config.live import LiveConfig
from slosched_server.control import Control
from slosched_server.descriptors import make_room
from tests.server.fake_engine import FakeEngine, Reply, Seen, answer, hang
from tests.server.fleet import ask, fleet
from tests.server.test_serve import HANG_S, Program, _get, serving

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sets limits of processes")


@pytest.fixture
def pid_file(tmp_path: Path) -> Path:
    return tmp_path / "pids"


@pytest.fixture
def engine(pid_file: Path) -> Iterator[str]:
    """An engine that runs elsewhere; gives its URL."""
    with serving(pid_file, manner="") as program:
        url = program.wait_for(r"listening.*engine=(\S+)")
        program.wait_for("engine ready")
        yield url
        program.signal(signal.SIGTERM)
        assert program.end() == 0


class Hung(FakeEngine):
    """Takes connections, and answers nothing."""

    def _reply_to(self, _: Seen) -> Reply:
        return hang


def test_a_replica_that_hangs_gets_nobody_any_more() -> None:
    """Whom it was given before that was found out waits until its client gives up."""

    async def main() -> None:
        in_a_row = 0
        async with Hung() as hung, FakeEngine(answer(b"{}")) as well:
            urls = [hung.url, well.url]
            async with fleet(urls, "fleet.assignment={kind: round_robin}") as client:
                while in_a_row < 6:
                    try:
                        async with asyncio.timeout(0.5):
                            assert (await ask(client))[:2] == (200, "r1")
                        in_a_row += 1
                    except TimeoutError:
                        in_a_row = 0

    asyncio.run(main())


def test_out_of_descriptors_clients_are_turned_away_until_there_are_some(engine: str) -> None:
    with Program(["gateway", "--port", "0", "--upstream", engine], {}) as program:
        url = program.wait_for(r"listening.*url=(\S+)")
        assert _get(f"{url}/ready")[0] == 200
        host, _, port = url.removeprefix("http://").partition(":")
        open_now = len(list(Path(f"/proc/{program.process.pid}/fd").iterdir()))
        limits = resource.prlimit(program.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(program.process.pid, resource.RLIMIT_NOFILE, (open_now + 8, limits[1]))
        with ExitStack() as others:
            for _ in range(32):
                others.enter_context(socket.create_connection((host, int(port)), HANG_S))
            waits = others.enter_context(socket.create_connection((host, int(port)), HANG_S))
            waits.settimeout(HANG_S)
            with suppress(ConnectionError):
                assert waits.recv(12) == b""
        resource.prlimit(program.process.pid, resource.RLIMIT_NOFILE, limits)
        # Whoever comes while it still turns others away is turned away with them.
        for _ in range(20):
            with suppress(ConnectionError):
                assert _get(f"{url}/ready")[0] == 200
                break
            time.sleep(0.1)
        else:
            pytest.fail("nobody is let in any more")
        program.signal(signal.SIGTERM)
        assert program.end() == 0


@pytest.mark.parametrize(
    ("soft", "hard", "room", "raised"),
    [
        (1024, 1024, 384, 1024),
        (1024, 4096, 1000, 2256),
        (4096, 4096, 1000, None),
        (64, -1, 1000, 2256),
    ],
)
def test_there_are_no_more_clients_than_descriptors(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, room: int, raised: int | None
) -> None:
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: given.append(limits))
    with capture_logs() as logs:
        assert make_room(1000) == room
    assert given == ([] if raised is None else [(raised, hard)])
    assert bool(logs) == (room < 1000)


def test_a_front_end_that_is_killed_is_a_broken_connection(engine: str) -> None:
    with Program(["gateway", "--port", "0", "--upstream", engine], {}) as program:
        url = program.wait_for(r"listening.*url=(\S+)")
        with urllib.request.urlopen(f"{url}/v1/completions", b"{}", HANG_S) as got:  # noqa: S310
            assert got.read(6) == b"data: "
            program.signal(signal.SIGKILL)
            with pytest.raises((ConnectionError, http.client.IncompleteRead)):
                got.read()
        assert program.process.wait(HANG_S) == -signal.SIGKILL


def test_a_bad_edit_keeps_the_old_configuration(engine: str, tmp_path: Path) -> None:
    config = tmp_path / "slosched.yaml"
    config.write_text("classes: {one: {ttft_ms: 1000}}\n")
    flags = ["--config", str(config), "--port", "0", "--upstream", engine]
    with Program(["gateway", *flags], {}) as program:
        url = program.wait_for(r"listening.*url=(\S+)")
        config.write_text("classes: {two: {ttf_ms: 1000}}\n")
        program.signal(signal.SIGHUP)
        program.wait_for("configuration not reloaded, the old one stays.*did you mean ttft_ms")
        assert _asked_for(url, "one") == 200
        assert _asked_for(url, "two") == 400
        config.write_text("classes: {two: {ttft_ms: 1000}}\n")
        program.signal(signal.SIGHUP)
        program.wait_for("configuration reloaded")
        assert _asked_for(url, "two") == 200
        program.signal(signal.SIGTERM)
        assert program.end() == 0


def _asked_for(url: str, slo_class: str) -> int:
    host = url.removeprefix("http://")
    client = http.client.HTTPConnection(host, timeout=HANG_S)
    try:
        client.request("POST", "/v1/completions", json.dumps({}), {"x-slo-class": slo_class})
        got = client.getresponse()
        got.read()
        return got.status
    finally:
        client.close()


def test_an_edit_that_cannot_be_handed_on_changes_nothing(tmp_path: Path) -> None:
    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    config = tmp_path / "slosched.yaml"
    config.write_text("classes: {one: {ttft_ms: 1000}}\n")
    control = Control(LiveConfig(config, [], queue=False), full)
    before = control.in_force.rules
    with pytest.raises(OSError, match="No space left"):
        control.edit(["classes.one.ttft_ms=5"])
    assert control.in_force.rules is before
    assert control.edits == ()
