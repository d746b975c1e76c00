"""What the page shows, as plain data; times are seconds on the server's monotonic clock."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from slosched.dispatch import View
from slosched.dispatch.reasons import Reason
from slosched_server.dashboard.hindsight import MINUTE_S, Hindsight
from slosched_server.dashboard.recent import (
    LIMITS,
    OUTCOMES,
    Recent,
    Rows,
    Tally,
    attained,
    counted,
)

MOST_SHOWN = 100  # of those who wait
# What is shown to whoever may see metrics: no section that might say where or who.
_SHOWN = ("classes", "default_class", "policy", "predictor", "planner", "fleet")
_HIDDEN = ("replicas",)


@dataclass(frozen=True, slots=True)
class Moment:
    """All that is known at `now`; without a fleet nothing of queues.

    Parameters
    ----------
    shown
        The configuration in force.
    edition
        Grows whenever that changes.
    """

    now: float
    recent: Recent
    shown: Mapping[str, Any]
    edition: int
    view: View | None = None
    reasons: Sequence[Reason] = ()
    hindsight: Hindsight | None = None

    def picture(self) -> dict[str, Any]:
        """Return all of it."""
        minute = self.recent.since(self.now - MINUTE_S)
        view = self.view
        return {
            "now": self.now,
            "edition": self.edition,
            "minute_s": min(MINUTE_S, self.recent.reaches(self.now)),
            "underway": sum(1 for _ in self.recent.underway),
            "classes": [self._class(name, minute) for name in self._class_names()],
            "queue": None if view is None else _queue(view),
            "replicas": None if view is None else [asdict(one) for one in view.replicas],
            "reasons": [asdict(reason) for reason in self.reasons],
            "hindsight": None if self.hindsight is None else asdict(self.hindsight),
        }

    def _class_names(self) -> list[str]:
        return list(dict.fromkeys([*self.shown.get("classes", ()), *self.recent.totals]))

    def _class(self, name: str, minute: Rows) -> dict[str, Any]:
        limits = self.shown.get("classes", {}).get(name, {})
        names = self.recent.names
        mine = minute[minute["slo_class"] == (names.index(name) if name in names else -1)]
        waiting = None if self.view is None else self.view.by_class.get(name, 0)
        return {
            "name": name,
            "limits": {k: limits[f"{k}_ms"] for k in LIMITS if f"{k}_ms" in limits},
            "waiting": waiting,
            "minute": {**_tally(_tally_of(mine)), **_minute(mine)},
            "total": _tally(self.recent.totals.get(name, Tally())),
            "history": [
                None if tally is None else [tally.attained, tally.counted]
                for tally in self.recent.history(name, self.now)
            ],
        }


def settings(shown: Mapping[str, Any], *, queue: bool) -> dict[str, Any]:
    """Return what the page shows of the configuration, and which part of it may be edited there.

    That is the solver: of the fleet's assignment where there is a queue, else of the policy.
    """
    config = {name: shown[name] for name in _SHOWN if name in shown}
    if isinstance(config.get("fleet"), Mapping):
        config["fleet"] = {k: v for k, v in config["fleet"].items() if k not in _HIDDEN}
    path = "fleet.assignment.solver" if queue else "policy.solver"
    return {"config": config, "path": path, "fields": dict(_fields(shown, path.split(".")))}


def _fields(shown: Mapping[str, Any], path: Sequence[str]) -> Iterator[tuple[str, object]]:
    at: object = shown
    for name in path:
        at = at.get(name) if isinstance(at, Mapping) else None
    if isinstance(at, Mapping):
        for name, value in at.items():
            if name != "kind" and (value is None or isinstance(value, int | float | str)):
                yield name, value


def _queue(view: View) -> dict[str, Any]:
    return {
        "waiting": [asdict(one) for one in view.waiting],
        "more": sum(view.by_class.values()) - len(view.waiting),
    }


def _tally_of(rows: Rows) -> Tally:
    return Tally(int(counted(rows).sum()), int(attained(rows).sum()))


def _tally(tally: Tally) -> dict[str, int]:
    return {"counted": tally.counted, "attained": tally.attained}


def _minute(rows: Rows) -> dict[str, Any]:
    broken = rows["broken"]
    ttft = (rows["first"] - rows["arrival"])[~np.isnan(rows["first"])]
    p50, p99 = np.quantile(ttft, (0.5, 0.99)).tolist() if len(ttft) else (None, None)
    return {
        "ended": {
            name: int((rows["outcome"] == number).sum()) for number, name in enumerate(OUTCOMES)
        },
        "broken": {name: int((broken >> k & 1).sum()) for k, name in enumerate(LIMITS)},
        "tokens": int(rows["tokens"].sum()),
        "ttft_p50": p50,
        "ttft_p99": p99,
    }
