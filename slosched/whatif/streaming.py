"""Traces of any length: read, served and summed up request by request."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from slosched.config.schema import Settings, dump
from slosched.core.errors import TraceError
from slosched.core.request import TracedRequest
from slosched.sim.tally import Tally
from slosched.traces import iter_records
from slosched.traces.workload import stream
from slosched.version import __version__

_TELL_EVERY = 64  # requests


@dataclass(frozen=True, slots=True)
class Stream:
    """One run of `simulate --stream`.

    Parameters
    ----------
    traces
        Files; each is read anew.
    limit
        Requests to take of each.
    labels
        What to put into the result besides its figures.
    """

    settings: Settings
    traces: Sequence[Path]
    limit: int | None
    load: float
    seed: int
    labels: dict[str, Any] = field(default_factory=dict)

    def requests(self) -> Iterator[TracedRequest]:
        """Read the traces as requests, in order of arrival."""
        settings = self.settings
        return stream(
            [islice(iter_records(path), self.limit) for path in self.traces],
            settings.slo_classes(),
            settings.tagger().default_class,
            rules=settings.workload.assign,
            arrivals=settings.workload.arrivals,
            load=self.load,
            seed=self.seed,
        )


def simulate(task: Stream, tick: Callable[[int], None]) -> dict[str, Any]:
    """Serve the traces, and sum the run up; memory does not grow with their length.

    Raises
    ------
    ConfigError
        If a part cannot be built, or the predictor has to know all lengths beforehand.
    TraceError
        At the first line that is wrong, if there is none, or if two requests of the same id are
        live at a time.
    """
    lengths: dict[str, int] = {}  # of those that live
    engine, tally = task.settings.simulated_engine(lengths=lengths), Tally()
    ended = 0
    try:
        for ended, request in enumerate(engine.serve(_noting(task.requests(), lengths)), 1):
            lengths.pop(request.traced.request.request_id)
            tally.add(request)
            if ended % _TELL_EVERY == 0:
                tick(ended)
    except ValueError as error:
        raise TraceError(f"{task.traces[0]}: {error}") from error
    if not ended:
        raise TraceError(f"{task.traces[0]}: holds no request")
    run: dict[str, Any] = {"policy": task.settings.policy.kind}
    run |= {"profile": task.settings.engine.profile, **tally.summary(engine)}
    return run | {"version": __version__, "config": dump(task.settings)} | task.labels


def _noting(trace: Iterator[TracedRequest], lengths: dict[str, int]) -> Iterator[TracedRequest]:
    for traced in trace:
        lengths[traced.request.request_id] = traced.output_tokens
        yield traced
