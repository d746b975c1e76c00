"""A replay in the format of all results."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from slosched.bench.replay import Replay
from slosched.client.answer import SHED, UNFINISHED, Answer
from slosched.core.request import TracedRequest
from slosched.sim.histogram import Histogram
from slosched.sim.records import Outcomes, Spread
from slosched.sim.summary import per_request_arrays, sum_up

FINISHED, UNSENT = "finished", "unsent"
_OPEN = (UNFINISHED, UNSENT)


def summarize(trace: Sequence[TracedRequest], replay: Replay) -> dict[str, Any]:
    """Sum a replay up, under the names that simulations use, and a few more.

    Of what was interrupted there is no more than a count: `unfinished` and `unsent`.
    """
    ends = _ends(replay)
    ended = [i for i, end in enumerate(ends) if end not in _OPEN]
    errors = Counter(ends[i] for i in ended if ends[i] != FINISHED)
    uncounted = [a for a in replay.answers if a and a.over and not (a.error or a.counted)]
    return {
        "num_prompts": len(trace),
        **sum_up(_outcomes(trace, replay, ended)),
        "failed": errors.total() - errors[SHED],
        "shed": errors[SHED],
        "unfinished": ends.count(UNFINISHED),
        "unsent": ends.count(UNSENT),
        "errors": dict(sorted(errors.items())),
        "uncounted": len(uncounted),
        "schedule_lag_ms": _ms(replay.late),
        "client_lag_ms": _ms(replay.client_lag),
    }


def arrays(trace: Sequence[TracedRequest], replay: Replay) -> dict[str, list[Any]]:
    """List what became of each request of the trace, whatever it was."""
    return per_request_arrays(_outcomes(trace, replay, range(len(trace)))) | {
        "outcomes": _ends(replay)
    }


def complaints(replay: Replay) -> dict[str, str]:
    """Give, for each kind of error, what was said the first time."""
    first: dict[str, str] = {}
    for answer in replay.answers:
        if answer is not None and answer.error not in ("", UNFINISHED):
            first.setdefault(answer.error, answer.detail)
    return first


def _ends(replay: Replay) -> list[str]:
    """Say how each request ended: finished, unsent, unfinished, or a kind of error."""
    return [
        UNSENT if answer is None or not answer.over else answer.error or FINISHED
        for answer in replay.answers
    ]


def _outcomes(trace: Sequence[TracedRequest], replay: Replay, places: Sequence[int]) -> Outcomes:
    """Put the answers at some places of the trace on the trace's clock."""
    answers = [replay.answers[i] or Answer() for i in places]
    served = [answer.over and not answer.error for answer in answers]
    last = np.array([a.last if s else np.nan for a, s in zip(answers, served, strict=True)])
    first = np.array([a.first if s else np.nan for a, s in zip(answers, served, strict=True)])
    gaps = Histogram()
    for answer, s in zip(answers, served, strict=True):
        if s:
            gaps.add_all(answer.gaps)
    arrivals = [trace[i].request.arrival for i in places]
    ends = [a.last for a in answers if a.times]
    requests = [
        _as_served(trace[i], a) if s else trace[i]
        for i, a, s in zip(places, answers, served, strict=True)
    ]
    return Outcomes(
        requests,
        first - replay.started,
        last - replay.started,
        np.array([traced.output_tokens for traced in requests], dtype=np.int64),
        gaps,
        max(ends) - replay.started - min(arrivals) if ends else 0.0,
    )


def _as_served(traced: TracedRequest, answer: Answer) -> TracedRequest:
    """Replace the trace's lengths by those that the server counted."""
    prompt_tokens = answer.prompt_tokens or traced.request.input_tokens
    request = replace(traced.request, input_tokens=prompt_tokens)
    return replace(traced, request=request, output_tokens=answer.tokens)


def _ms(lag: Spread) -> dict[str, float]:
    return {"mean": lag.mean * 1e3, "max": lag.most * 1e3}
