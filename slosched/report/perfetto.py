"""A schedule as a Chromium trace, for ui.perfetto.dev."""

from collections.abc import Iterable
from heapq import heappop, heappush
from typing import Any


def timeline(lines: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Lay the requests of a plan out over slots: a bar for the prompt, one for the answer.

    Parameters
    ----------
    lines
        As `optimize` writes them, with `start_ms`, `first_token_ms` and `finish_ms`.
    """
    events: list[dict[str, Any]] = []
    busy: list[tuple[float, int]] = []  # (until, slot) of the slots that are taken
    free: list[int] = []
    served = [line for line in lines if line["finish_ms"] is not None]
    for line in sorted(served, key=lambda line: (line["start_ms"], line["order"])):
        while busy and busy[0][0] <= line["start_ms"]:
            heappush(free, heappop(busy)[1])
        slot = heappop(free) if free else len(busy)
        heappush(busy, (line["finish_ms"], slot))
        for phase, begin, end in (
            ("prefill", line["start_ms"], line["first_token_ms"]),
            ("decode", line["first_token_ms"], line["finish_ms"]),
        ):
            events.append(
                {
                    "name": f"{line['request_id']} {phase}",
                    "cat": "met" if line["slo_met"] else "missed",
                    "ph": "X",
                    "ts": begin * 1e3,
                    "dur": (end - begin) * 1e3,
                    "pid": 1,
                    "tid": slot + 1,
                    "args": line,
                }
            )
    return {"traceEvents": events, "displayTimeUnit": "ms"}
