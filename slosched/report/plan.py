"""The page of an offline plan: its schedule, what it attains, and what nothing can."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from slosched.report import html
from slosched.report.arrays import Arrays
from slosched.report.figures.gantt import gantt
from slosched.report.pictures import Picture, class_title
from slosched.report.provenance import as_yaml
from slosched.report.requests import Requests
from slosched.report.window import MOST
from slosched.report.words import count


@dataclass(frozen=True, slots=True)
class OfClass:
    """How the requests of a class fare."""

    name: str
    requests: int
    met: int
    mean_ttft: float
    mean_e2e: float


def plan_page(
    summary: Mapping[str, Any],
    arrays: Mapping[str, Any],
    facts: Sequence[tuple[str, str]],
    config: Mapping[str, Any],
) -> bytes:
    """Show a plan on one page; how long it took to make is not said, so that plans repeat.

    Parameters
    ----------
    summary
        As `optimize --format json` prints it.
    arrays
        Per request, in planned order, under the names of a result's arrays.
    facts
        Where the plan comes from.
    config
        In force when it was made.
    """
    requests = Arrays.model_validate(arrays).requests(lambda *_: np.inf)
    return html.render(
        "plan.html",
        {
            "plan": summary,
            "requests": requests,
            "schedule": _schedule(requests),
            "classes": [_of_class(requests, name) for name in requests.members],
            "class_title": class_title,
            "isfinite": isfinite,
            "most": MOST,
            "facts": facts,
            "config": as_yaml(config),
        },
    )


def _schedule(requests: Requests) -> Picture:
    n = len(requests)
    rows = np.arange(min(n, MOST))
    end = float(np.nanmax(requests.e2e[rows], initial=1e-3))
    title = f"{count(n, 'request')} in planned order"
    alt = f"Schedule of {title}: a row each, with their deadlines"
    small = f"The first {MOST:,} of them; optimize -o writes them all." if n > MOST else ""
    return Picture(title, gantt("schedule", alt, requests, rows, 0.0, end), small)


def _of_class(requests: Requests, name: str) -> OfClass:
    rows = requests.members[name]
    served = rows[np.isfinite(requests.e2e[rows])]
    nobody = not len(served)
    return OfClass(
        name=name,
        requests=len(rows),
        met=int(requests.met[rows].sum()),
        mean_ttft=np.nan if nobody else float(requests.ttft[served].mean()),
        mean_e2e=np.nan if nobody else float(requests.e2e[served].mean()),
    )
