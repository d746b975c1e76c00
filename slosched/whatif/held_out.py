"""A trace in two: what a search sees, and what it is judged by."""

from collections.abc import Sequence
from typing import NamedTuple

from slosched.core.errors import TraceError
from slosched.core.request import TracedRequest
from slosched.traces import TraceRecord

GAP = 0.05  # of the requests; in neither part, so that no burst is in both
LEAST = 20  # requests that a part must have to say anything


class Parts(NamedTuple):
    """The requests that a search sees, and those that come after them and a gap."""

    train: list[TracedRequest]
    held_out: list[TracedRequest]


def together(records: Sequence[Sequence[TraceRecord]]) -> list[list[TraceRecord]]:
    """Leave out what comes after the first of some traces ends.

    Where one goes on alone, the mix is another one: what is searched would say little of it.

    Parameters
    ----------
    records
        Of each trace, in order of time; traces without times stay whole.
    """
    ends = [trace[-1].time for trace in records if trace and trace[-1].time > 0]
    until = min(ends, default=0.0)
    return [[record for record in trace if record.time <= until] for trace in records]


def divide(trace: Sequence[TracedRequest], share: float) -> Parts:
    """Divide a trace by time: the first `share` of the requests, a gap, and the rest.

    By time and not in alternating blocks, as what is tuned on one day serves the next: blocks
    would put neighbours of every held-out burst into the search.

    Parameters
    ----------
    trace
        In order of arrival.
    share
        Between 0 and 1.

    Raises
    ------
    TraceError
        If a part has fewer than 20 requests.
    """
    begin, end = round(share * len(trace)), round((share + GAP) * len(trace))
    parts = Parts(list(trace[:begin]), list(trace[end:]))
    for name, part in zip(("training", "held-out"), parts, strict=True):
        if len(part) < LEAST:
            raise TraceError(
                f"the {name} part has {len(part)} of {len(trace)} requests, and needs at least "
                f"{LEAST}: take a longer trace, a higher --limit, or another --train"
            )
    return parts
