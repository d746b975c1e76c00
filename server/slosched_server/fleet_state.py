"""The queue and its replicas as Prometheus sees them, read when it asks."""

import time
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import get_args

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from slosched.dispatch import Dispatcher, State
from slosched.dispatch.view import ReplicaView

_Figure = Callable[[ReplicaView], float | None]
_OF_A_REPLICA: Sequence[tuple[str, str, _Figure]] = (
    ("running", "Requests that it has of us.", attrgetter("running")),
    ("waiting", "Requests that wait here for it.", attrgetter("queued")),
    ("kv_used_ratio", "Share of its KV cache in use, as it says.", attrgetter("kv_used")),
    ("slowdown", "Time of its steps over what its profile says.", attrgetter("slower")),
)


class FleetState(Collector):
    """A queue at the moment of asking; no request does anything for it."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._classes: set[str] = set()  # that waited once, and have a depth of 0 from then on

    def collect(self) -> Iterator[Metric]:
        """Yield what there is now."""
        view = self._dispatcher.snapshot(time.monotonic(), most=0)
        self._classes |= view.by_class.keys()
        depth = _gauge("queue_depth", "Requests that wait for a replica.", "slo_class")
        for slo_class in sorted(self._classes):
            depth.add_metric((slo_class,), view.by_class.get(slo_class, 0))
        age = _gauge("plan_age_seconds", "Since the state that the plan in force was made for.")
        age.add_metric((), view.plan_age)
        margin = _gauge("latency_margin", "Factor by which plans take steps to be longer.")
        margin.add_metric((), view.margin)
        yield from (depth, age, margin, *_replicas(view.replicas))


def _replicas(replicas: Sequence[ReplicaView]) -> Iterator[Metric]:
    state = _gauge("replica_state", "1 for the state that it is in.", "replica", "state")
    for replica in replicas:
        for possible in get_args(State):
            state.add_metric((replica.name, possible), float(replica.state == possible))
    yield state
    for name, text, figure in _OF_A_REPLICA:
        gauge = _gauge(f"replica_{name}", text, "replica")
        for replica in replicas:
            if (value := figure(replica)) is not None:
                gauge.add_metric((replica.name,), value)
        yield gauge


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"slosched_{name}", text, labels=labels)
