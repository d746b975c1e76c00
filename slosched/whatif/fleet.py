"""Some engines that are all alike, and share a trace."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from slosched.config.schema import Settings
from slosched.core.request import TracedRequest
from slosched.core.types import BoolArray
from slosched.sim.join import join
from slosched.sim.summary import summarize
from slosched.traces import TraceRecord
from slosched.whatif.choices import Routing
from slosched.whatif.requests import requests
from slosched.whatif.routing import split
from slosched.whatif.target import ALL, Target
from slosched.whatif.task import Engine, serve
from slosched.whatif.workers import Workers


@dataclass(frozen=True, slots=True)
class Probe:
    """What came of so many replicas at such a load.

    Parameters
    ----------
    attainment
        Share of the requests that met their SLO, of each class and of all.
    missed
        Names of the targets that were not met.
    summary
        As `simulate` has it, of all replicas as one.
    """

    replicas: int
    load: float
    attainment: dict[str, float]
    missed: tuple[str, ...]
    summary: dict[str, Any]

    @property
    def meets(self) -> bool:
        """Whether all targets are met."""
        return not self.missed

    def margins(self, targets: Iterable[Target]) -> dict[str, float]:
        """By how much attainment is above each target; negative below it."""
        return {target.name: self.attainment[target.name] - target.share for target in targets}


@dataclass(frozen=True, slots=True)
class Fleet:
    """Serves a trace as often as asked.

    Parameters
    ----------
    settings
        Of each engine.
    records
        Of each trace.
    seed
        Assigns classes, draws arrivals, and routes where that is random.
    """

    settings: Settings
    records: Sequence[Sequence[TraceRecord]]
    routing: Routing
    targets: Sequence[Target]
    seed: int
    workers: Workers

    def probe(self, replicas: int, load: float, tick: Callable[[int], None]) -> Probe:
        """Simulate each replica by itself, and sum them up as one."""
        trace = requests(self.records, self.settings, load, self.seed)
        parts = split(trace, replicas, self.routing, self.settings, self.seed)
        tasks = [Engine(self.settings, part) for part in parts if part]
        records = join(self.workers.all(serve, tasks, tick))
        shares = {name: share for name, (_, share) in by_class(records.trace, records.attained)}
        missed = tuple(t.name for t in self.targets if not t.met(shares[t.name]))
        return Probe(replicas, load, shares, missed, summarize(records))


def by_class(
    trace: Sequence[TracedRequest], met: BoolArray
) -> Iterable[tuple[str, tuple[int, float]]]:
    """Yield (name, (requests, share of them that meet)) of all, then of each class by name."""
    yield ALL, (len(trace), float(met.mean()))
    classes = np.array([traced.request.slo_class for traced in trace])
    for name in sorted(set(classes.tolist())):
        members = met[classes == name]
        yield name, (len(members), float(members.mean()))
