"""The file of keys is edited while requests are served, and by whom it is."""

import asyncio
from pathlib import Path

import openai
import pytest
from structlog.testing import capture_logs

from tests.server.guarded import CLASSES, Files, Guarded, guarded


async def until(front: Guarded, key: str, *, known: bool) -> None:
    """Ask until a key is known, or is not any more."""
    while True:
        try:
            await front.ask(key)
        except openai.AuthenticationError:
            if not known:
                return
        else:
            if known:
                return
        await asyncio.sleep(0.02)


def test_keys_come_and_go_and_those_that_stay_count_on(tmp_path: Path) -> None:
    files = Files(tmp_path)
    stays = files.give("stays", requests_per_minute=1)

    async def main() -> None:
        async with guarded(files) as front:
            await front.ask(stays)
            comes = files.give("comes")
            await until(front, comes, known=True)
            with pytest.raises(openai.RateLimitError):
                await front.ask(stays)
            files.take("comes")
            await until(front, comes, known=False)

    asyncio.run(main())


def test_an_edit_that_does_not_fit_changes_nothing_and_is_told(tmp_path: Path) -> None:
    files = Files(tmp_path)
    key = files.give("chat")

    async def main() -> None:
        with capture_logs() as logs:
            async with guarded(files) as front:
                files.give("other", classes=["gold"])
                while not any("not reloaded" in entry["event"] for entry in logs):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
                await front.ask(key)
            assert "keys.yaml" in str(logs)
            assert "unknown class 'gold'" in str(logs)

    asyncio.run(main())


def test_an_edit_may_name_another_file_which_is_watched_then(tmp_path: Path) -> None:
    files = Files(tmp_path, CLASSES.replace("keys.yaml", "elsewhere/keys.yaml"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "keys.yaml").write_text("keys: []")
    key = files.give("chat")

    async def main() -> None:
        async with guarded(files) as front:
            with pytest.raises(openai.AuthenticationError):
                await front.ask(key)
            files.config.write_text(CLASSES)
            await until(front, key, known=True)
            other = files.give("other")
            await until(front, other, known=True)

    asyncio.run(main())


def test_a_mounted_secret_changes_by_a_link_to_another_folder(tmp_path: Path) -> None:
    """As Kubernetes does it: keys.yaml -> now/keys.yaml, now -> a folder that is replaced."""
    made = tmp_path / "made"
    made.mkdir()
    files = Files(made)
    keys = []
    for version in ("1", "2"):
        keys.append(files.give(f"chat-{version}"))
        (tmp_path / version).mkdir()
        (tmp_path / version / "keys.yaml").write_text((made / "keys.yaml").read_text())
    old, new = keys
    (tmp_path / "now").symlink_to("1")
    (tmp_path / "keys.yaml").symlink_to("now/keys.yaml")
    files = Files(made, CLASSES.replace("keys.yaml", str(tmp_path / "keys.yaml")))

    async def main() -> None:
        async with guarded(files) as front:
            await front.ask(old)
            with pytest.raises(openai.AuthenticationError):
                await front.ask(new)
            (tmp_path / "then").symlink_to("2")
            (tmp_path / "then").replace(tmp_path / "now")
            await until(front, new, known=True)

    asyncio.run(main())


def test_keys_cannot_be_edited_away_where_strangers_can_reach_us(tmp_path: Path) -> None:
    files = Files(tmp_path, CLASSES + "server: {host: 0.0.0.0}\n")
    key = files.give("chat")

    async def main() -> None:
        async with guarded(files) as front:
            files.config.write_text(files.text.replace("access: {keys: keys.yaml}\n", ""))
            assert not front.control.reload()
            with pytest.raises(openai.AuthenticationError):
                await front.ask("none")
            await front.ask(key)

    asyncio.run(main())
