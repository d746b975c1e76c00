"""Configuration that is edited while it is in force: what does not fit changes nothing."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from slosched.config.live import LiveConfig
from slosched.core.errors import ConfigError
from slosched_server.control import Control

ONE = "classes: {chat: {ttft_ms: 1000}}\n"
TWO = "classes: {chat: {ttft_ms: 1000}, batch: {e2e_ms: 9000}}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "slosched.yaml"
    path.write_text(ONE)
    return path


def classes(control: Control) -> set[str]:
    return set(control.in_force.rules.shown["classes"])


def test_an_invalid_file_keeps_the_old_rules_and_is_reported(file: Path) -> None:
    control = Control(LiveConfig(file, [], queue=False))
    before = control.in_force.rules
    file.write_text("classes: {chat: {ttf_ms: 1}}")
    with structlog.testing.capture_logs() as logs:
        assert not control.reload()
    assert control.in_force.rules is before
    assert "did you mean ttft_ms?" in logs[0]["reason"]
    file.write_text(TWO)
    assert control.reload()
    assert classes(control) == {"chat", "batch"}


def test_edits_stay_on_top_of_a_reloaded_file(file: Path) -> None:
    control = Control(LiveConfig(file, [], queue=False))
    control.edit(["classes.chat.ttft_ms=5"])
    file.write_text(TWO)
    assert control.reload()
    assert control.in_force.rules.shown["classes"]["chat"]["ttft_ms"] == 5
    with pytest.raises(ConfigError, match="ttft_ms"):
        control.edit(["classes.chat.ttft_ms=-1"])
    assert control.edits == ("classes.chat.ttft_ms=5",)


def _over(file: Path) -> None:
    file.write_text(TWO)


def _moved_into_place(file: Path) -> None:
    other = file.with_suffix(".new")
    other.write_text(TWO)
    other.replace(file)


@pytest.mark.parametrize("write", [_over, _moved_into_place])
def test_a_file_is_watched_however_editors_write_it(
    file: Path, write: Callable[[Path], None]
) -> None:
    async def main() -> None:
        control = Control(LiveConfig(file, [], queue=False))
        changed = asyncio.Event()
        control.in_force.listen(lambda _: changed.set())
        watching = asyncio.create_task(control.watch())
        async with asyncio.timeout(60):
            while not changed.is_set():  # the watch may begin late: written again until seen
                write(file)
                await asyncio.sleep(0.2)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        assert classes(control) == {"chat", "batch"}

    asyncio.run(main())


def test_what_has_no_effect_is_said(file: Path) -> None:
    guarded = "classes.chat.overload=reject"
    with structlog.testing.capture_logs() as logs:
        Control(LiveConfig(file, [guarded], queue=False))
    assert logs[0]["classes"] == ["chat"]
    with structlog.testing.capture_logs() as logs:
        replica = "fleet.replicas=[{url: 'http://127.0.0.1:1'}]"
        Control(LiveConfig(file, [guarded, replica], queue=True))
    assert not logs
