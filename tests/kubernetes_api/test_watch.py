"""Lists and watches: nothing is missed for long, whatever becomes of connections."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from slosched_server.kubernetes.kinds import OBJECTIVES, PODS, Kind
from slosched_server.kubernetes.watch import Tally, Watch
from tests.kubernetes_api.discovering import QUICK, fake
from tests.kubernetes_api.fake_api import FakeApi
from tests.kubernetes_api.objects import NAMESPACE, Verbs, objective, pod, status, until


@asynccontextmanager
async def watching(
    folder: Path, kind: Kind = PODS, lasts_s: float = 5.0, query: dict[str, str] | None = None
) -> AsyncIterator[tuple[FakeApi, Verbs, Watch, Tally]]:
    times, tally = replace(QUICK, lasts_s=lasts_s), Tally()
    async with fake(folder) as (server, api, verbs):
        watch = Watch(api, kind, NAMESPACE, lambda: None, query, times=times, tally=tally)
        running = asyncio.create_task(watch.run())
        try:
            yield server, verbs, watch, tally
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


def test_what_is_there_and_what_changes(tmp_path: Path) -> None:
    async def main() -> None:
        only = {"labelSelector": "app=vllm"}
        async with watching(tmp_path, query=only) as (_, verbs, watch, tally):
            await watch.synced.wait()
            assert watch.objects == {}
            await verbs.create(PODS, pod("a", "10.0.0.1", ready=False))
            await verbs.create(PODS, pod("other", "10.0.0.9", labels={"app": "web"}))
            await until(lambda: set(watch.objects) == {"a"})
            await verbs.patch(PODS, "a", {"status": status("10.0.0.1", ready=True)})
            await until(lambda: watch.objects["a"]["status"]["conditions"][0]["status"] == "True")
            await verbs.patch(PODS, "other", {"metadata": {"labels": {"app": "vllm"}}})
            await until(lambda: set(watch.objects) == {"a", "other"})
            await verbs.patch(PODS, "a", {"metadata": {"labels": {"app": "web"}}})
            await verbs.delete(PODS, "other")
            await until(lambda: not watch.objects)
            assert tally.relists == {"pods": 1}
            assert not tally.failures

    asyncio.run(main())


def test_a_watch_that_ends_goes_on_where_its_bookmark_is(tmp_path: Path) -> None:
    """Changes elsewhere have moved the version on meanwhile; no second list is asked for."""

    async def main() -> None:
        async with watching(tmp_path, lasts_s=1.0) as (server, verbs, watch, tally):
            await watch.synced.wait()
            for number in range(3):
                await verbs.create(OBJECTIVES[1], objective(f"elsewhere{number}"))
            await until(lambda: len([q for _, _, q in server.asked if "watch" in q]) >= 2)
            versions = [int(q["resourceVersion"]) for _, _, q in server.asked if "watch" in q]
            assert versions[1] == versions[0] + 3
            await verbs.create(PODS, pod("a", "10.0.0.1"))
            await until(lambda: set(watch.objects) == {"a"})
            assert tally.relists == {"pods": 1}

    asyncio.run(main())


@pytest.mark.parametrize("fault", ["cut", "expire"])
def test_what_a_lost_watch_missed_is_listed(tmp_path: Path, fault: str) -> None:
    async def main() -> None:
        async with watching(tmp_path) as (server, verbs, watch, tally):
            await verbs.create(PODS, pod("a", "10.0.0.1"))
            await until(lambda: set(watch.objects) == {"a"} and server.watched == 1)
            server.frozen = True
            await verbs.delete(PODS, "a")
            await verbs.create(PODS, pod("b", "10.0.0.2"))
            server.frozen = False
            getattr(server, fault)()
            await until(lambda: set(watch.objects) == {"b"})
            await until(lambda: tally.relists["pods"] == 2)
            assert tally.failures["pods"] == (fault == "cut")

    asyncio.run(main())


def test_while_the_api_is_away_what_was_known_stays(tmp_path: Path) -> None:
    async def main() -> None:
        async with watching(tmp_path) as (server, verbs, watch, tally):
            await verbs.create(PODS, pod("a", "10.0.0.1"))
            await until(lambda: set(watch.objects) == {"a"} and server.watched == 1)
            server.failures = 5
            server.cut()
            await until(lambda: tally.failures["pods"] >= 6)
            assert set(watch.objects) == {"a"}
            assert watch.synced.is_set()
            await verbs.create(PODS, pod("b", "10.0.0.2"))
            await until(lambda: set(watch.objects) == {"a", "b"})

    asyncio.run(main())


def test_a_connection_that_is_dead_in_silence_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slosched_server.kubernetes.api._SILENT_S", 0.1)

    async def main() -> None:
        async with watching(tmp_path, lasts_s=1.0) as (server, verbs, watch, tally):
            server.dead = True
            await watch.synced.wait()
            await verbs.create(PODS, pod("a", "10.0.0.1"))
            await until(lambda: tally.failures["pods"] == 1)
            await until(lambda: set(watch.objects) == {"a"})

    asyncio.run(main())


def test_a_kind_that_the_cluster_does_not_have_has_no_objects(tmp_path: Path) -> None:
    """And is found once it is there."""

    async def main() -> None:
        kind = Kind("example.org", "v1", "widgets")
        async with watching(tmp_path, kind) as (server, verbs, watch, tally):
            await watch.synced.wait()
            assert not watch.objects
            assert not tally.failures
            server.kinds.add(kind)
            await verbs.create(kind, {"metadata": {"name": "one"}})
            await until(lambda: set(watch.objects) == {"one"})
            # A server that has just been started denies it for a moment.
            server.kinds.remove(kind)
            server.cut()
            await until(lambda: tally.failures[kind.called] >= 2)
            assert set(watch.objects) == {"one"}
            await until(lambda: not watch.objects)

    asyncio.run(main())


def test_a_server_that_was_away_has_to_deny_a_kind_for_as_long_as_any(tmp_path: Path) -> None:
    """What it said before it went away does not count."""

    async def main() -> None:
        async with watching(tmp_path) as (server, verbs, watch, tally):
            await verbs.create(PODS, pod("a", "10.0.0.1"))
            await until(lambda: set(watch.objects) == {"a"} and server.watched == 1)
            server.kinds.remove(PODS)
            server.cut()
            await until(lambda: tally.failures["pods"] >= 2)
            server.failures = 1000
            await asyncio.sleep(2 * QUICK.doubts_s)
            server.failures, failed = 0, tally.failures["pods"]
            await until(lambda: tally.failures["pods"] >= failed + 2)
            assert set(watch.objects) == {"a"}
            await until(lambda: not watch.objects)

    asyncio.run(main())


def test_watches_that_end_at_once_are_failures(tmp_path: Path) -> None:
    """Else they would be asked for as fast as they end."""

    async def main() -> None:
        async with watching(tmp_path) as (server, verbs, watch, tally):
            await watch.synced.wait()
            server.hasty = True
            server.cut()
            await until(lambda: tally.failures["pods"] >= 4)
            server.hasty = False
            await verbs.create(PODS, pod("a", "10.0.0.1"))
            await until(lambda: set(watch.objects) == {"a"})

    asyncio.run(main())


def test_objects_as_large_as_they_may_be(tmp_path: Path) -> None:
    async def main() -> None:
        async with watching(tmp_path) as (server, verbs, watch, tally):
            await watch.synced.wait()
            large = pod("a", "10.0.0.1", annotations={"notes": "x" * 900_000})
            await verbs.create(PODS, large)
            await until(lambda: set(watch.objects) == {"a"})
            assert len(json.dumps(watch.objects["a"])) > 900_000
            assert not tally.failures
            assert server.asked

    asyncio.run(main())
