"""Turns records of traces into requests: merged by time, each with a class and an arrival."""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from math import inf

import numpy as np

from slosched.core.errors import TraceError
from slosched.core.request import Request, TracedRequest
from slosched.core.slo import Slo, SloClass
from slosched.core.transcript import RecordedTranscript
from slosched.core.types import BoolArray
from slosched.traces.arrivals import Arrivals, Gamma, Poisson, Recorded
from slosched.traces.record import TraceRecord

__all__ = ["Arrivals", "AssignRule", "Gamma", "Poisson", "Recorded", "build", "stream"]

_AT_ONCE = 4096  # records; draws come out the same whatever it is


@dataclass(frozen=True, slots=True)
class AssignRule:
    """Gives a class to the requests that it matches and that have none.

    Parameters
    ----------
    slo_class
        Name of the class.
    source
        Matches requests from the trace whose file has this stem; None matches all.
    share
        Matches this share of the requests that reach the rule, drawn at random; None all.

    Raises
    ------
    ValueError
        If `share` is not within 0 and 1.
    """

    slo_class: str
    source: str | None = None
    share: float | None = None

    def __post_init__(self) -> None:
        if self.share is not None and not 0 <= self.share <= 1:
            raise ValueError(f"share must be from 0 to 1, got {self.share}")

    def matches(self, records: Sequence[TraceRecord], rng: np.random.Generator) -> BoolArray:
        """Tell which records the rule would match; draws as often whatever its share is."""
        drawn = rng.random(len(records)) < (1.0 if self.share is None else self.share)
        named = [self.source is None or self.source == record.source for record in records]
        return drawn & np.array(named, dtype=np.bool_)


def build(
    traces: Sequence[Iterable[TraceRecord]],
    classes: Mapping[str, SloClass],
    default_class: str,
    *,
    rules: Sequence[AssignRule] = (),
    arrivals: Arrivals | None = None,
    load: float = 1.0,
    seed: int | np.random.Generator = 0,
) -> list[TracedRequest]:
    """Turn the records of one or several traces into requests in order of arrival.

    As `stream` does, which see for parameters; and looks whether ids are unique.

    Raises
    ------
    ValueError
        If `load` is not positive, or the default or a rule names no class.
    TraceError
        If a record names an unknown class, or two have the same id.
    """
    requests = list(
        stream(traces, classes, default_class, rules=rules, arrivals=arrivals, load=load, seed=seed)
    )
    _check_unique(requests)
    return requests


def stream(
    traces: Sequence[Iterable[TraceRecord]],
    classes: Mapping[str, SloClass],
    default_class: str,
    *,
    rules: Sequence[AssignRule] = (),
    arrivals: Arrivals | None = None,
    load: float = 1.0,
    seed: int | np.random.Generator = 0,
) -> Iterator[TracedRequest]:
    """Turn records into requests as they come, in order of arrival; memory does not grow.

    A record's own class wins over the rules, and its own limits over those of any class: the
    class then gives its name and weight alone, as it does to a request with explicit targets.

    Parameters
    ----------
    traces
        Each in order of time; with several, a request's id is `source/id`.
    classes, default_class
        Known classes by name, and the one for records that no rule matches.
    rules
        The first that matches gives the class.
    arrivals
        When the requests arrive; None as recorded.
    load
        Divides all times: 2 brings the same requests in half the time.
    seed
        Draws classes and arrivals in separate streams, so that one does not change the other.

    Raises
    ------
    ValueError
        If `load` is not positive, or the default or a rule names no class.
    TraceError
        If a record names an unknown class.
    """
    if not 0 < load < inf:
        raise ValueError(f"load must be greater than 0 and finite, got {load}")
    for name in (default_class, *(rule.slo_class for rule in rules)):
        if name not in classes:
            raise ValueError(_unknown(name, classes))
    for_classes, for_arrivals = np.random.default_rng(seed).spawn(2)
    # Each rule has a stream of its own: adding one leaves the draws of those before it.
    draws = for_classes.spawn(len(rules))
    merged, last = heapq.merge(*traces, key=lambda record: record.time), None
    while records := list(islice(merged, _AT_ONCE)):
        recorded = np.array([record.time for record in records], dtype=np.float64)
        times = (arrivals or Recorded()).times(recorded, for_arrivals, last)
        last = float(times[-1])
        names = _assigned(records, rules, default_class, draws)
        for record, arrival, name in zip(records, (times / load).tolist(), names, strict=True):
            request_id = record.request_id
            if len(traces) > 1:
                request_id = f"{record.source}/{request_id}"
            yield _request(record, request_id, arrival, _class_of(record, name, classes))


def _assigned(
    records: Sequence[TraceRecord],
    rules: Sequence[AssignRule],
    default_class: str,
    draws: Sequence[np.random.Generator],
) -> list[str]:
    names = [record.slo_class for record in records]
    for rule, rng in zip(rules, draws, strict=True):
        matches = rule.matches(records, rng)
        names = [
            rule.slo_class if name is None and match else name
            for name, match in zip(names, matches.tolist(), strict=True)
        ]
    return [default_class if name is None else name for name in names]


def _class_of(record: TraceRecord, name: str, classes: Mapping[str, SloClass]) -> SloClass:
    if name not in classes:
        problem = _unknown(name, classes)
        raise TraceError(f"{record.source}: request {record.request_id}: {problem}")
    return classes[name]


def _request(
    record: TraceRecord, request_id: str, arrival: float, slo_class: SloClass
) -> TracedRequest:
    request = Request(
        request_id=request_id,
        arrival=arrival,
        input_tokens=record.input_tokens,
        slo=_limits(record, slo_class.slo),
        slo_class=slo_class.name,
        tenant=record.tenant,
        max_tokens=record.max_tokens,
        priority=record.priority,
        prompt=record.prompt,
        transcript=_transcript(record),
    )
    return TracedRequest(request, record.output_tokens, record.source, record.hash_ids)


def _transcript(record: TraceRecord) -> RecordedTranscript | None:
    if record.prompt is None:
        return None
    return RecordedTranscript(record.prompt, record.answer or "", record.output_tokens)


def _limits(record: TraceRecord, of_class: Slo) -> Slo:
    own = (record.ttft, record.tpot, record.e2e)
    if own == (None, None, None):
        return of_class
    ttft, tpot, e2e = (inf if limit is None else limit for limit in own)
    return Slo(ttft, tpot, e2e, of_class.weight)


def _unknown(name: str, classes: Mapping[str, SloClass]) -> str:
    close = get_close_matches(name, classes, 1)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(classes) or 'none'}"
    return f"no class {name!r}, {hint}"


def _check_unique(requests: Sequence[TracedRequest]) -> None:
    seen: set[str] = set()
    for traced in requests:
        request_id = traced.request.request_id
        if request_id in seen:
            raise TraceError(
                f"request id {request_id!r} comes twice; traces that are merged must differ in "
                "their file names"
            )
        seen.add(request_id)
