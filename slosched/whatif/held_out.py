"""A trace in two: what a search sees, and what it is judged by."""

from collections.abc import Sequence
from typing import NamedTuple

from slosched.core.errors import TraceError
from slosched.core.request import TracedRequest

GAP = 0.05  # of the requests; in neither part, so that no burst is in both
LEAST = 20  # requests that a part must have to say anything


class Parts(NamedTuple):
    """The requests that a search sees, and those that come after them and a gap."""

    train: list[TracedRequest]
    held_out: list[TracedRequest]


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
