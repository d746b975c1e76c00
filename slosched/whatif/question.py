"""What is asked of capacity, and how it is answered."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from slosched.config.schema import Settings
from slosched.core.errors import ConfigError, TraceError
from slosched.traces import TraceRecord
from slosched.whatif.alone import attained_alone
from slosched.whatif.capacity import Loads, Replicas, Scale, Search
from slosched.whatif.choices import Find, Routing
from slosched.whatif.fleet import Fleet, Probe, by_class
from slosched.whatif.requests import requests
from slosched.whatif.target import Target
from slosched.whatif.workers import Workers


@dataclass(frozen=True, slots=True)
class Question:
    """Which number of replicas, or which load, meets targets on a trace.

    Parameters
    ----------
    scale
        What is tried.
    records
        Of each trace.
    seed
        Of all random draws.
    """

    find: Find
    scale: Scale
    targets: Sequence[Target]
    routing: Routing
    records: Sequence[Sequence[TraceRecord]]
    seed: int

    def idle(self, settings: Settings) -> dict[str, tuple[int, float]]:
        """Count the requests of all and of each class, and the share that could meet its SLO.

        Raises
        ------
        TraceError
            If a target is for a class of which there is no request.
        """
        trace = requests(self.records, settings, 1.0, self.seed)
        shares = dict(by_class(trace, attained_alone(trace, settings)))
        for target in self.targets:
            if target.name not in shares:
                raise TraceError(
                    f"--target {target.name}={target.share:g}: the trace has no request of class "
                    f"{target.name}; workload.assign gives classes"
                )
        return shares

    def unreachable(self, idle: Mapping[str, tuple[int, float]]) -> list[str]:
        """Name the targets that no number of engines can meet, given what an idle one can."""
        return [target.name for target in self.targets if not target.met(idle[target.name][1])]

    def search(
        self,
        settings: Settings,
        workers: Workers,
        told: Callable[[int, float], None],
        tick: Callable[[int], None],
    ) -> Search:
        """Prepare the search under some settings; it runs when it is told to.

        Parameters
        ----------
        told
            Called before each probe, with its replicas and its load.
        tick
            Called with the number of requests that were served since, now and then.
        """
        fleet = Fleet(settings, self.records, self.routing, self.targets, self.seed, workers)

        def probe(replicas: int, load: float) -> Probe:
            told(replicas, load)
            return fleet.probe(replicas, load, tick)

        return Search(self.scale, probe)


def replicas_scale(load: float | None, most: int) -> Replicas:
    """Look for replicas; ConfigError for a load that is none."""
    load = 1.0 if load is None else load
    _check_positive("--load", load)
    return Replicas(load, most)


def loads_scale(replicas: int | None, step: float, most: float) -> Loads:
    """Look for a load; ConfigError for a step or a bound that makes no sense."""
    _check_positive("--step", step)
    _check_positive("--max-load", most)
    if most < step:
        raise ConfigError(f"--max-load must be at least --step ({step:g}), got {most:g}")
    return Loads(replicas or 1, step, int(most / step + 1e-9))


def _check_positive(option: str, value: float) -> None:
    if not 0 < value < inf:
        raise ConfigError(f"{option} must be greater than 0 and finite, got {value:g}")
