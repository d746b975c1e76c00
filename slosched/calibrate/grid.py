"""Which cases are measured, so that each coefficient shows, and how often there is time for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from slosched.calibrate.case import UNKNOWN, Case, Prompt, Staircase, Visit
from slosched.calibrate.limits import Limits
from slosched.core.latency import LinearLatency

SHORT = 16  # tokens of the shortest prompts
_AGAIN = 3  # times that a short prompt is measured for each time that a long one is
_KV_SHARE = 0.8  # of the cache, at most: what is preempted is computed twice
_DEFAULT_SEQS = 8
_MOST_PASSES = 5


@dataclass(frozen=True, slots=True)
class Scope:
    """What the fit is to hold for.

    Parameters
    ----------
    longest
        Tokens of the longest prompts.
    quick
        Fewer lengths, and one pass.
    """

    longest: int
    quick: bool = False


def cases(scope: Scope, limits: Limits) -> list[Case]:
    """List the cases of one pass.

    Prompts of several lengths alone show what a prompt token costs, and what a request does;
    staircases at several contexts show the base, and what a sequence and its context cost.
    Visits and the staircases' begins check the fit where prompts and decoding meet.
    """
    longest, most = scope.longest, limits.max_num_seqs or _DEFAULT_SEQS
    lengths = np.unique(np.geomspace(SHORT, longest, 4 if scope.quick else 8).round().astype(int))
    found: list[Case] = []
    for tokens in lengths.tolist():
        found.extend([Prompt(tokens)] * (_AGAIN if tokens <= longest // 4 else 1))
    middle = max(longest // 4, SHORT)
    contexts = (SHORT, longest) if scope.quick else (SHORT, middle, longest)
    found.extend(
        _fitting(Staircase, most, (context,), limits) for context in dict.fromkeys(contexts)
    )
    beside = [n for n in ((most // 2,) if scope.quick else (most // 2, 1)) if 0 < n < most]
    prompts = (max(longest // 8, SHORT), max(longest // 2, SHORT), longest)
    visits = (middle, tuple(dict.fromkeys(prompts)))
    found.extend(_fitting(Visit, n, visits, limits) for n in dict.fromkeys(beside))
    return found


def in_budget(
    scope: Scope, limits: Limits, rough: LinearLatency, seconds: float
) -> tuple[Scope, list[Case], int]:
    """Choose how long prompts can be, and how many passes, to stay within so many seconds.

    Returns
    -------
    The scope, with its longest prompt halved until one pass fits; the cases of a pass; and the
    number of passes, at least 1.
    """
    while True:
        chosen = cases(scope, limits)
        pass_s = estimate(chosen, limits, rough)
        if pass_s <= seconds or scope.longest <= 2 * SHORT:
            most = 1 if scope.quick else _MOST_PASSES
            return scope, chosen, min(max(int(seconds / pass_s), 1), most)
        scope = Scope(scope.longest // 2, scope.quick)


def estimate(chosen: Sequence[Case], limits: Limits, rough: LinearLatency) -> float:
    """Say about how many seconds some cases take."""
    most = limits.max_num_batched_tokens or UNKNOWN
    return sum(case.seconds(rough, most) for case in chosen)


def longest_prompt(limits: Limits, wanted: int | None) -> int:
    """Say how long prompts are to be at first: as wanted, as far as the engine has room."""
    usual = 4096 if limits.max_model_len is None else min(limits.max_model_len // 2, 4096)
    most = wanted or usual
    if limits.max_model_len is not None:
        most = min(most, limits.max_model_len - Staircase(1, 0).reach(1))
    return max(most, SHORT)


def _fitting(
    kind: Callable[..., Case], sequences: int, rest: tuple[Any, ...], limits: Limits
) -> Case:
    """Make a case of as many sequences, of those wanted, as the engine holds to their end."""
    step = limits.max_num_batched_tokens or UNKNOWN
    while True:
        case = kind(sequences, *rest)
        length = case.reach(step)
        fits = limits.max_model_len is None or length <= limits.max_model_len
        if limits.kv_tokens is not None:
            fits = fits and sequences * length <= _KV_SHARE * limits.kv_tokens
        if fits or sequences == 1:
            return case
        sequences //= 2
