"""What the front end before several replicas tells Prometheus."""

import asyncio
import re
from collections import Counter
from pathlib import Path
from typing import Never

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.parser import text_string_to_metric_families

from slosched.config.live import LiveConfig
from slosched.core.fleet import FleetProblem
from slosched.core.latency import LinearLatency
from slosched.core.request import Request
from slosched.core.slo import Slo
from slosched.core.snapshot import EngineLimits
from slosched.dispatch import Dispatcher, Replica
from slosched.dispatch.assignments.planned import PlannedFleet
from slosched.predictors.declared import Declared
from slosched_server.config_reloads import ConfigReloads
from slosched_server.control import Control
from slosched_server.fleet_metrics import FleetMetrics
from slosched_server.waiting_room import WaitingRoom
from slosched_solvers.fleet import FleetAnneal
from tests.server.fake_engine import FakeEngine, Reply, answer, die
from tests.server.fleet import ask, fleet
from tests.server.test_fleet import full
from tests.simulated_engine.serve import simulated

Page = dict[str, Metric]


async def scraped(client: aiohttp.ClientSession) -> Page:
    async with client.get("/metrics") as got:
        page = await got.text()
    return {family.name: family for family in text_string_to_metric_families(page)}


def values(page: Page, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """Values of a family's samples by some of their labels."""
    family = page[f"slosched_{name}"]
    return {
        tuple(sample.labels[label] for label in labels): sample.value
        for sample in family.samples
        if not sample.name.endswith(("_created", "_bucket", "_sum"))
    }


def test_the_queue_is_shown_as_it_is() -> None:
    """Whoever is live is running or waiting, by class and by replica."""

    async def main() -> None:
        async with full(12) as (client, sent):
            await sent.reach(8)
            page: Page = {}
            while not page or not values(page, "solve_seconds", "solver"):
                page = await scraped(client)
                await asyncio.sleep(0.01)
            assert values(page, "queue_depth", "slo_class") == {("interactive",): 4}
            assert values(page, "replica_running", "replica") == {("r0",): 4, ("r1",): 4}
            assert sum(values(page, "replica_waiting", "replica").values()) == 4
            states = values(page, "replica_state", "replica", "state")
            assert {key for key, is_so in states.items() if is_so} == {
                ("r0", "ready"), ("r1", "ready"),
            }  # fmt: skip
            assert Counter(name for name, _ in states) == {"r0": 3, "r1": 3}
            assert values(page, "replica_slowdown", "replica") == {("r0",): 1, ("r1",): 1}
            assert values(page, "replica_kv_used_ratio", "replica") == {}  # they do not say
            assert values(page, "solve_seconds", "solver")["fleet_anneal",] >= 1
            assert values(page, "plan_age_seconds")[()] > 0

    asyncio.run(main())


def test_a_class_that_waited_once_has_a_depth_of_none() -> None:
    registry = CollectorRegistry()
    dispatcher = _dispatcher(PlannedFleet(_Fails()))
    FleetMetrics(registry, dispatcher)
    labels = {"slo_class": "batch"}
    assert registry.get_sample_value("slosched_queue_depth", labels) is None
    dispatcher.submit(Request("a", 0.0, 9, Slo(e2e=1.0), "batch"))
    assert registry.get_sample_value("slosched_queue_depth", labels) == 1
    dispatcher.on_end("a")
    assert registry.get_sample_value("slosched_queue_depth", labels) == 0


def test_engines_say_how_full_they_are_and_lengths_are_held_against_predictions() -> None:
    async def main() -> None:
        slots = "engine.max_num_seqs=4"
        async with simulated(slots) as one, simulated(slots) as two, fleet([one, two]) as client:
            asked, page = 0, await scraped(client)
            while not values(page, "prediction_error_tokens")[()]:
                said = await asyncio.gather(*(ask(client, max_tokens=20) for _ in range(24)))
                assert {status for status, _, _ in said} == {200}
                asked, page = asked + 24, await scraped(client)
        assert values(page, "prediction_error_tokens")[()] <= asked
        ratios = values(page, "replica_kv_used_ratio", "replica")
        assert ratios.keys() == {("r0",), ("r1",)}
        assert all(0 <= ratio <= 1 for ratio in ratios.values())
        done = values(page, "requests", "slo_class", "outcome")
        assert done == {("interactive", "finished"): asked}

    asyncio.run(main())


@pytest.mark.parametrize(
    ("reply", "reason"),
    [(answer(b"{}", 503), "503"), (die, "connection")],
    ids=["answers 503", "dies"],
)
def test_retries_are_counted_by_their_reason(reply: Reply, reason: str) -> None:
    async def main() -> None:
        async with FakeEngine(reply) as broken, FakeEngine() as well:
            kind = "fleet.assignment={kind: round_robin}"
            async with fleet([broken.url, well.url], kind) as client:
                first = values(await scraped(client), "retries", "reason")
                while not (counted := values(await scraped(client), "retries", "reason")):
                    assert (await ask(client))[:2] == (200, "r1")
            assert (first, counted) == ({}, {(reason,): 1})

    asyncio.run(main())


class _Fails(FleetAnneal):
    """A solver that never finds anything."""

    def solve(self, problem: FleetProblem) -> Never:
        raise RuntimeError(f"no idea about {len(problem.snapshot)} requests")


def test_plans_that_fail_are_counted() -> None:
    async def main() -> None:
        registry = CollectorRegistry()
        dispatcher = _dispatcher(PlannedFleet(_Fails()))
        room = WaitingRoom(dispatcher, 0.0, FleetMetrics(registry, dispatcher))
        try:
            for name in "abc":
                room.enter(Request(name, 0.0, 9, Slo(ttft=1.0)))
            while not registry.get_sample_value("slosched_plan_failures_total"):  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        finally:
            await room.close()
        labels = {"solver": "fleet_anneal"}
        solves = registry.get_sample_value("slosched_solve_seconds_count", labels)
        assert solves is not None
        assert solves >= 1

    asyncio.run(main())


def test_reloads_are_counted_by_what_became_of_them(tmp_path: Path) -> None:
    file = tmp_path / "slosched.yaml"
    file.write_text("classes: {any: {e2e_ms: 1000}}")
    control = Control(LiveConfig(file, (), queue=False))
    registry = CollectorRegistry()
    registry.register(ConfigReloads(control))

    def counted() -> list[float | None]:
        name = "slosched_config_reloads_total"
        return [registry.get_sample_value(name, {"outcome": o}) for o in ("applied", "refused")]

    assert counted() == [0, 0]
    assert control.reload()
    file.write_text("classes: {any: {e2e: 1000}}")
    assert not control.reload()
    assert counted() == [1, 1]


def test_who_attains_is_counted_once_whatever_is_violated() -> None:
    """A request is attained, or at least one of its limits was not kept."""

    async def main() -> None:
        hasty = "classes.hasty={ttft_ms: 0.001, tpot_ms: 0.001, e2e_ms: 0.001}"
        async with FakeEngine() as engine, fleet([engine.url], hasty) as client:
            for _ in range(3):
                await ask(client)
            async with client.post(
                "/v1/completions", json={"prompt": "p"}, headers={"x-slo-class": "hasty"}
            ) as got:
                await got.read()
            page = await scraped(client)
        attained = {("interactive",): 3, ("hasty",): 0}  # there, so that a share of it is 0
        assert values(page, "requests_attained", "slo_class") == attained
        assert values(page, "request_slo_violation", "slo_class", "type") == {("hasty", "e2e"): 1}

    asyncio.run(main())


def test_what_runs_is_said() -> None:
    async def main() -> None:
        async with FakeEngine() as engine, fleet([engine.url]) as client:
            page = await scraped(client)
        (build,) = page["slosched_build_info"].samples
        assert re.fullmatch(r"\d+\.\d+\S*", build.labels["version"])
        assert page["process_cpu_seconds"].samples

    asyncio.run(main())


def _dispatcher(assignment: PlannedFleet) -> Dispatcher:
    dispatcher = Dispatcher(assignment, Declared())
    limits = EngineLimits(max_num_seqs=1)
    dispatcher.add_replica(Replica("one", limits, LinearLatency(0.02, 0.0, 0.0, 0.0)))
    return dispatcher
