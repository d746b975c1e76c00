"""What a process is given to simulate."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from slosched.config.schema import Settings
from slosched.core.request import TracedRequest
from slosched.sim.records import Records
from slosched.traces import TraceRecord
from slosched.whatif.queue import Queued
from slosched.whatif.queue import serve as serve_queued
from slosched.whatif.replay import replay, result
from slosched.whatif.requests import requests


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine, and the requests that come to it."""

    settings: Settings
    trace: Sequence[TracedRequest]


def serve(task: Engine, tick: Callable[[int], None]) -> Records:
    """Serve the requests."""
    return replay(task.settings, task.trace, tick)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of `simulate`.

    Parameters
    ----------
    records
        Of each trace; settings make requests of them.
    labels
        What to put into the result besides its figures.
    queued
        The engines and the queues before them; None for one engine by itself.
    """

    settings: Settings
    records: Sequence[Sequence[TraceRecord]]
    load: float
    seed: int
    per_request: bool = False
    labels: dict[str, Any] = field(default_factory=dict)
    queued: Queued | None = None


def simulate(task: Run, tick: Callable[[int], None]) -> dict[str, Any]:
    """Replay the records, and sum the run up."""
    trace = requests(task.records, task.settings, task.load, task.seed)
    queues: dict[str, Any] = {}
    if task.queued is None:
        records = replay(task.settings, trace, tick)
    else:
        records, queues = serve_queued(task.queued, task.settings, trace, tick)
    run = result(task.settings, records, per_request=task.per_request)
    return run | queues | task.labels
