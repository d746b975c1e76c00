"""Random instances: snapshots with limits that about half of the requests can keep."""

from math import inf

import numpy as np
from synthetic import CODE, CONVERSATION

from slosched.core.latency import LinearLatency
from slosched.core.objective import Objective
from slosched.core.protocols import Problem
from slosched.core.snapshot import LIVE, SCENARIOS, UNRANKED, EngineLimits, Snapshot
from slosched.core.types import FloatArray, IntArray
from slosched_solvers.anneal import Anneal
from slosched_solvers.evaluate import Evaluator
from slosched_solvers.instance import build

LATENCY = LinearLatency(0.012, 0.00008, 0.00015, 0.0000002)  # that of mix-profile.yaml


def varied(rng: np.random.Generator, n: int, slots: int) -> Snapshot:
    """Draw n requests that wait, with limits of all kinds in all combinations, and weights."""
    prompts, answers = rng.integers(8, 2000, n), rng.integers(1, 300, n)
    snapshot = _waiting(prompts, answers, slots)
    drained = _drained(snapshot)
    live = snapshot.live
    live["weight"] = rng.choice([1.0, 1.0, 2.0, 0.5], n)
    live["arrival"] = np.sort(-rng.random(n) * drained / 4)
    kind = rng.integers(0, 4, n)  # TTFT, end to end, TTFT and TPOT, all three
    live["ttft"] = np.where(kind != 1, rng.uniform(0.02, 0.5, n) * drained, inf)
    live["e2e"] = np.where(kind % 2 == 1, rng.uniform(0.1, 0.7, n) * drained, inf)
    live["tpot"] = np.where(kind >= 2, rng.uniform(1.0, 4.0, n) * LATENCY.base, inf)
    return snapshot


def one_by_one(rng: np.random.Generator, n: int) -> Snapshot:
    """Draw n requests for an engine of one slot, with end-to-end limits only, and equal weights."""
    snapshot = _waiting(rng.integers(8, 2000, n), rng.integers(1, 300, n), 1)
    snapshot.live["e2e"] = rng.uniform(0.0, 0.3, n) * _drained(snapshot)
    return snapshot


def backlog(rng: np.random.Generator, waiting: int, slots: int) -> Snapshot:
    """Draw a full engine before which conversations, code and batch jobs wait.

    Limits are shares of the time T in which the engine serves them all: a third each has T/10 to
    the first token (conversations), T/5 (code) or T/2 (batch jobs) from end to end; ages are up to
    T/10.
    """
    n = waiting + slots
    code = rng.random(n) < 0.5
    prompts = np.where(code, CODE.prompt.draw(rng, n), CONVERSATION.prompt.draw(rng, n))
    answers = np.where(code, CODE.answer.draw(rng, n), CONVERSATION.answer.draw(rng, n))
    snapshot = _waiting(prompts, answers, slots)
    drained = _drained(snapshot)
    live = snapshot.live
    live["arrival"] = np.sort(-rng.random(n) * drained / 10)
    batch = rng.random(n) < 1 / 3
    live["ttft"] = np.where(batch | code, inf, drained / 10)
    live["e2e"] = np.where(batch, drained / 2, np.where(code, drained / 5, inf))
    _start(rng, snapshot, slots)
    return snapshot


def problem(snapshot: Snapshot, *, all_decisions: bool = False) -> Problem:
    """Ask for an order by the default objective; and for all else that a plan may decide."""
    on = all_decisions
    return Problem(snapshot, Objective(), preemption=on, admission_gate=on, prefill_budget=on)


def warm_up() -> None:
    """Plan something small, so that no figure has a compiler's time in it."""
    asked = problem(backlog(np.random.default_rng(0), 8, 2), all_decisions=True)
    Anneal(move_budget=200).solve(asked)


def _waiting(prompts: IntArray, answers: IntArray, slots: int) -> Snapshot:
    n = len(prompts)
    live = np.zeros(n, dtype=LIVE)
    live["serial"] = np.arange(n)
    live["first_token"] = np.nan
    live["prefill"] = prompts
    for scenario in SCENARIOS:
        live[scenario] = answers
    live["ttft"] = live["tpot"] = live["e2e"] = inf
    live["weight"] = 1.0
    live["rank"] = UNRANKED
    limits = EngineLimits(max_num_seqs=slots, max_num_batched_tokens=max(2048, slots))
    return Snapshot(0.0, live, limits, LATENCY)


def _start(rng: np.random.Generator, snapshot: Snapshot, running: int) -> None:
    """Let the first requests hold the slots, each somewhere in its answer."""
    live = snapshot.live[:running]
    live["running"] = True
    live["context"], live["prefill"] = live["prefill"], 0
    live["produced"] = 1 + rng.random(running) * (live["length"] - 1)
    live["context"] += live["produced"]
    live["first_token"] = live["arrival"] / 2
    for scenario in SCENARIOS:
        live[scenario] = np.maximum(live[scenario], live["produced"] + 1)


def _drained(snapshot: Snapshot) -> float:
    """Seconds in which the engine serves all, in order of arrival."""
    evaluate = Evaluator(build(snapshot), Objective())
    evaluate(np.arange(len(snapshot)))
    finish: FloatArray = evaluate.finish
    return float(finish.max())
