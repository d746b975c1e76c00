"""Engines that are all alike, behind one queue or several, as settings have them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from slosched.config.schema import Settings
from slosched.core.request import TracedRequest
from slosched.dispatch import Replica
from slosched.sim.engine import Progress
from slosched.sim.fleet import Pace, Shard, Sharing, VirtualFleet
from slosched.sim.records import Records


@dataclass(frozen=True, slots=True)
class Queued:
    """How many engines there are, and how requests come to them.

    Parameters
    ----------
    replicas, shards
        Engines in all, and queues before them; no queue has two engines more than another.
    sharing
        Which queue gets a request.
    measured
        Whether plans take as long as they take on this machine, in virtual time too; else as long
        as their budget says, so that results repeat.
    heard_every
        See `Pace`.

    Raises
    ------
    ValueError
        If there are more queues than engines, or none.
    """

    replicas: int
    shards: int = 1
    sharing: Sharing = "hash"
    measured: bool = False
    heard_every: float = 1

    def __post_init__(self) -> None:
        if not 1 <= self.shards <= self.replicas:
            raise ValueError(
                f"shards must be at least 1 and at most replicas ({self.replicas}), "
                f"got {self.shards}"
            )

    def sizes(self) -> list[int]:
        """Return how many engines each queue has."""
        left, sizes = self.replicas, []
        for shard in range(self.shards):
            sizes.append(ceil(left / (self.shards - shard)))
            left -= sizes[-1]
        return sizes

    def build(self, settings: Settings, trace: Sequence[TracedRequest]) -> VirtualFleet:
        """Return the fleet, fresh; ConfigError if a part cannot be built."""
        if not self.measured:
            settings = settings.offline()
        plan_s = None if self.measured else settings.fleet.plan_s()
        pace = Pace(settings.fleet.plan_every_ms / 1e3, plan_s, self.heard_every)
        # The oracle's book, once for all engines.
        oracle = settings.predictor.kind == "oracle"
        known = {t.request.request_id: t.output_tokens for t in trace} if oracle else None
        number, shards = 0, []
        for size in self.sizes():
            names = [f"replica-{number + i}" for i in range(size)]
            shards.append(_shard(settings, trace, known, names, pace))
            number += size
        return VirtualFleet(shards, self.sharing)


def _shard(
    settings: Settings,
    trace: Sequence[TracedRequest],
    known: Mapping[str, int] | None,
    names: Sequence[str],
    pace: Pace,
) -> Shard:
    dispatcher = settings.dispatcher(trace)
    limits, latency = settings.limits(), settings.latency()
    for name in names:
        dispatcher.add_replica(Replica(name, limits, latency, settings.fleet.ahead))
    dispatcher.warm_up()
    engines = {name: settings.simulated_engine(trace, lengths=known) for name in names}
    return Shard(dispatcher, engines, pace)


def offline(settings: Settings, seed: int, queued: Queued | None) -> Settings:
    """Bound solvers by moves, but for those of a queue whose plans take as long as they take."""
    bounded = settings.offline(seed)
    if queued is None or not queued.measured:
        return bounded
    return bounded.model_copy(update={"fleet": settings.fleet})


def serve(
    queued: Queued,
    settings: Settings,
    trace: Sequence[TracedRequest],
    progress: Progress | None = None,
) -> tuple[Records, dict[str, Any]]:
    """Serve a trace; return what became of it, and what the queues did.

    Returns
    -------
    Records, and under the names of results: how many engines and queues there were, which
    assignment, and where plans took as long as they took, how long that was, and which share of a
    core the queues needed while they served.
    """
    fleet = queued.build(settings, trace)
    try:
        records = fleet.run(trace, progress)
    finally:
        fleet.close()
    said = {
        "replicas": queued.replicas,
        "shards": queued.shards,
        "sharing": queued.sharing,
        "assignment": settings.fleet.assignment.kind,
    }
    return records, said | (_times(fleet, records) if queued.measured else {})


def _times(fleet: VirtualFleet, records: Records) -> dict[str, Any]:
    """Sum the real times of queues up; the busiest core counts."""
    figures = [shard.figures for shard in fleet.shards]
    plans = 1e3 * np.array([seconds for one in figures for seconds in one.plan_s])
    duration = records.duration or 1.0
    return {
        "median_plan_ms": float(np.median(plans)) if len(plans) else None,
        "p99_plan_ms": float(np.percentile(plans, 99)) if len(plans) else None,
        "events": sum(one.events for one in figures),
        "busy_share": max(one.busy_s for one in figures) / duration,
        "solving_share": max(sum(one.solve_s) for one in figures) / duration,
    }
