"""The metrics that are really exported: by a fleet's front end, by the scheduler, by engines."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cache

import aiohttp
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from slosched.vllm.metrics import engine_metrics
from slosched_server.connections import Connections
from slosched_server.settings import ServerSettings
from tests.server.fake_engine import FakeEngine, answer
from tests.server.fleet import fleet
from tests.simulated_engine.serve import simulated

_SUFFIXES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_sum", "_count"),
    "gauge": ("",),
}


@dataclass(frozen=True)
class Exported:
    """A metric: its type, and its labels where they are known."""

    kind: str
    labels: frozenset[str] | None

    def series(self, name: str) -> set[str]:
        """Names of its samples."""
        whole = name.removesuffix("_total")
        return {whole + suffix for suffix in _SUFFIXES[self.kind]}


Names = dict[str, Exported]


@cache
def of_the_front_end() -> Names:
    """Names that a front end before replicas has once everything has happened."""

    async def main() -> str:
        hasty = (
            "classes.hasty={ttft_ms: 0.001, tpot_ms: 0.001, overload: downgrade, "
            "downgrade_to: batch}"
        )
        registry = CollectorRegistry()
        clients = Connections(ServerSettings(), asyncio.Event(), registry)
        async with (
            FakeEngine(answer(b"{}", 503)) as broken,
            simulated("engine.max_num_seqs=2", speed=20.0) as one,
            fleet([broken.url, one], hasty, registry=registry) as client,
        ):
            clients.cut("unread")
            page = ""
            while not all(name in page for name in _LATE):
                asking = asyncio.gather(*(_ask(client, number) for number in range(12)))
                while not asking.done():
                    await asyncio.sleep(0.02)
                    async with client.get("/metrics") as got:
                        page = await got.text()
            return page

    return _named(text_string_to_metric_families(asyncio.run(main())))


_LATE = (
    "slosched_requests_downgraded_total{",
    "slosched_request_slo_violation_total{",
    "slosched_retries_total{",
    "slosched_solve_seconds_count{",
    "slosched_queue_depth{",
    "slosched_replica_kv_used_ratio{",
)


async def _ask(client: aiohttp.ClientSession, number: int) -> None:
    headers = {"x-slo-class": "hasty"} if number % 2 else {"x-slo-ttft-ms": "1"}
    body = {"prompt": "p", "max_tokens": 20, "stream": True}
    async with client.post("/v1/completions", json=body, headers=headers) as got:
        await got.read()


@cache
def of_the_scheduler() -> Names:
    """Names that slosched adds to vLLM's."""
    metrics = engine_metrics()
    made: list[MetricWrapperBase] = [getattr(metrics, one.name) for one in fields(metrics)]
    names = {}
    for metric in made:
        (described,) = metric.describe()
        name = described.name + ("_total" if described.type == "counter" else "")
        names[name] = Exported(described.type, frozenset(metric._labelnames))
    return names


@cache
def of_engines() -> Names:
    """Names of vLLM's own that the simulated engine has, too."""

    async def main() -> str:
        async with simulated() as url, aiohttp.ClientSession(url) as client:
            await _ask(client, 0)
            async with client.get("/metrics") as got:
                return await got.text()

    return _named(text_string_to_metric_families(asyncio.run(main())))


def _named(families: Iterable[Metric]) -> Names:
    names = {}
    for family in families:
        if family.type == "gauge" and family.name.endswith("_created"):
            continue
        labels = [frozenset(sample.labels) - {"le"} for sample in family.samples]
        name = family.name + ("_total" if family.type == "counter" else "")
        names[name] = Exported(family.type, labels[0] if labels else None)
    return names
