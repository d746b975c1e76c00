"""Laws 6, 7, 8 and 9 of docs/laws.md."""

from dataclasses import replace
from math import inf
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slosched import EngineLimits, LinearLatency, Objective, Plan, PlanError, Problem, Slo, Snapshot
from slosched.core.objective import KINDS, ObjectiveKind, attained, cost
from slosched.core.snapshot import LIVE, SCENARIOS, UNRANKED
from slosched.core.types import IntArray
from slosched.policies.planned import Planned
from slosched_solvers.anneal import Anneal
from slosched_solvers.checkpoints import FROM_SCRATCH, commit, latest
from slosched_solvers.cpsat import CpSat
from slosched_solvers.evaluate import Evaluator
from slosched_solvers.exhaustive import Exhaustive
from slosched_solvers.instance import build, give_up_slot
from slosched_solvers.rollout import replay, rollout, workspace
from slosched_solvers.rollout_reference import rollout_reference
from slosched_solvers.starts import moore_hodgson, starts
from tests.strategies import snapshots

MOVES = Anneal(time_budget_ms=None, move_budget=1500)
kinds = st.sampled_from(KINDS)


@settings(max_examples=400)
@given(snapshots(max_size=25), st.randoms(use_true_random=False), st.data())
def test_the_rollout_equals_its_plain_python_twin(
    snapshot: Snapshot, random: Random, data: st.DataObject
) -> None:
    """Law 7, under KV pressure and with preempted requests as well."""
    instance = build(snapshot)
    running = np.flatnonzero(snapshot.running & (snapshot.prefill == 0))
    if len(running) and data.draw(st.booleans()):
        instance = give_up_slot(instance, int(data.draw(st.sampled_from(list(running)))))
    order = np.array(random.sample(range(len(snapshot)), len(snapshot)))
    first, finish = np.empty(len(order)), np.empty(len(order))
    rollout(instance, order, first, finish, workspace(len(order)))
    expected_first, expected_finish = rollout_reference(instance, order)
    np.testing.assert_allclose(first, expected_first, rtol=1e-9)
    np.testing.assert_allclose(finish, expected_finish, rtol=1e-9)


@settings(max_examples=200)
@given(snapshots(max_size=25), kinds, st.randoms(use_true_random=False))
def test_the_kernels_price_is_the_objectives(
    snapshot: Snapshot, kind: ObjectiveKind, random: Random
) -> None:
    """Law 7, for the cost."""
    objective = Objective(kind, tardiness_weight=0.3)
    evaluate = Evaluator(build(snapshot), objective)
    price = evaluate(shuffled(snapshot, 0, random))
    assert price == pytest.approx(cost(snapshot, objective, evaluate.first, evaluate.finish))


def shuffled(
    snapshot: Snapshot, keep: int, random: Random, order: IntArray | None = None
) -> IntArray:
    """Running requests first, then the waiting ones in any order behind the first few."""
    if order is None:
        order = np.lexsort((np.arange(len(snapshot)), ~snapshot.running))
    kept = int(snapshot.running.sum()) + keep
    tail = list(order[kept:])
    random.shuffle(tail)
    return np.array([*order[:kept], *tail], dtype=np.int64)


@settings(max_examples=200)
@given(snapshots(max_size=40), kinds, st.randoms(use_true_random=False))
def test_a_replay_from_a_checkpoint_ends_like_one_from_scratch(
    snapshot: Snapshot, kind: ObjectiveKind, random: Random
) -> None:
    """Law 7, for the annealer's moves: whatever changes behind a place, and is then in force."""
    evaluate = Evaluator(build(snapshot), Objective(kind))
    order = shuffled(snapshot, 0, random)
    saved, _ = evaluate.checkpoints(order)
    waiting = int((~snapshot.running).sum())
    for _ in range(8):
        place = random.randrange(waiting + 1)
        trial = shuffled(snapshot, place, random, order)
        begin = latest(saved, place) if place < waiting else FROM_SCRATCH
        expected = evaluate(trial)
        limit = random.choice([np.inf, expected + random.uniform(-1, 1)])
        limit = np.inf if kind == "g" else limit
        found = replay(
            evaluate.instance, trial, begin, True, limit, evaluate.kind, evaluate.weights,
            evaluate.first, evaluate.finish, evaluate.work, saved,
        )  # fmt: skip
        if np.isinf(found):
            assert expected > limit - 1e-9
            continue
        assert found == pytest.approx(expected)
        if random.random() < 0.5:
            commit(saved, begin)
            order = trial


@settings(max_examples=150)
@given(snapshots(max_size=20), kinds, st.booleans())
def test_a_solution_is_a_permutation_and_its_cost_is_its_own(
    snapshot: Snapshot, kind: ObjectiveKind, preemption: bool
) -> None:
    """Law 8; the order and the preemptions, rolled out again, cost what the solver said."""
    problem = Problem(snapshot, Objective(kind), preemption)
    solution = MOVES.solve(problem)
    Plan(solution.order, solution.preempt).check(snapshot)
    instance = build(snapshot)
    for row in solution.preempt:
        instance = give_up_slot(instance, int(row))
    assert Evaluator(instance, problem.objective)(solution.order) == pytest.approx(solution.cost)
    met = attained(snapshot, solution.first, solution.finish)
    assert solution.attained == met.sum()


@settings(max_examples=60)
@given(snapshots(max_size=20), kinds, st.booleans())
def test_annealing_is_never_worse_than_its_best_start(
    snapshot: Snapshot, kind: ObjectiveKind, preemption: bool
) -> None:
    """Law 6, its last part."""
    problem = Problem(snapshot, Objective(kind), preemption)
    evaluate = Evaluator(build(snapshot), problem.objective)
    best_start = min(evaluate(start) for start in starts(snapshot))
    assert MOVES.solve(problem).cost <= best_start + 1e-9


@settings(max_examples=60)
@given(snapshots(max_size=30), kinds, st.booleans())
def test_that_holds_for_what_lies_behind_the_horizon_too(
    snapshot: Snapshot, kind: ObjectiveKind, preemption: bool
) -> None:
    """Law 6: the search sees the first four only, the price is that of all."""
    problem = Problem(snapshot, Objective(kind), preemption)
    evaluate = Evaluator(build(snapshot), problem.objective)
    best_start = min(evaluate(start) for start in starts(snapshot))
    short_sighted = replace(MOVES, move_budget=200, horizon=4)
    assert short_sighted.solve(problem).cost <= best_start + 1e-9


@settings(max_examples=40)
@given(snapshots(max_size=7, max_running=2), kinds)
def test_nothing_beats_exhaustive_search_on_small_instances(
    snapshot: Snapshot, kind: ObjectiveKind
) -> None:
    """Law 6: exhaustive <= annealed, exhaustive <= CP-SAT's order."""
    problem = Problem(snapshot, Objective(kind))
    best = Exhaustive().solve(problem)
    assert best.cost <= MOVES.solve(problem).cost + 1e-9
    assert best.cost <= CpSat(time_limit_s=1, workers=1).solve(problem).cost + 1e-9


@settings(max_examples=60)
@given(snapshots(max_size=6, max_running=2, kv_blocks=(200, 2000)))
def test_nobody_attains_more_than_the_proven_bound(snapshot: Snapshot) -> None:
    """Law 6: the bound of the relaxed model holds for the best order there is."""
    problem = Problem(snapshot, Objective(tardiness_weight=0, latency_weight=0))
    best = Exhaustive().solve(problem)
    bound = CpSat(time_limit_s=5, workers=1).solve(problem).attained_bound
    met = attained(snapshot, best.first, best.finish)
    assert bound is not None
    assert snapshot.weight[met].sum() <= bound + 1e-6


@settings(max_examples=50)
@given(snapshots(slots=1, max_running=0, slo=st.just(Slo()), kv_blocks=(4000, 4000)))
def test_without_deadlines_and_batching_the_order_is_shortest_remaining_first(
    snapshot: Snapshot,
) -> None:
    """Law 9: ISRTF is the special case."""
    order = Planned(MOVES).plan(snapshot).order
    service = snapshot.service[order]
    assert np.all(np.diff(service) >= -1e-9 * service[:-1])


def one_machine(service: list[int], due: list[float]) -> Snapshot:
    """Jobs for one machine: a token takes one second, whoever's it is."""
    live = np.zeros(len(service), dtype=LIVE)
    live["serial"] = np.arange(len(service))
    live["first_token"], live["rank"], live["weight"] = np.nan, UNRANKED, 1
    live["prefill"] = 1
    for scenario in SCENARIOS:
        live[scenario] = service
    live["ttft"], live["tpot"], live["e2e"] = inf, inf, due
    return Snapshot(0.0, live, EngineLimits(1, 2048, 16, 100_000), LinearLatency(1.0, 0, 0, 0))


def textbook(service: list[int], due: list[float]) -> int:
    """Moore (1968), written again: how many of the jobs can be on time."""
    chosen: list[int] = []
    for i in sorted(range(len(due)), key=due.__getitem__):
        chosen.append(service[i])
        if sum(chosen) > due[i]:
            chosen.remove(max(chosen))
    return len(chosen)


@settings(max_examples=80)
@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 400)), min_size=1, max_size=25))
def test_on_one_machine_as_many_are_on_time_as_moore_and_hodgson_say(
    jobs: list[tuple[int, int]],
) -> None:
    """Law 9: batch size 1, unit weights, end-to-end deadlines only."""
    service, due = [p for p, _ in jobs], [float(d) for _, d in jobs]
    snapshot = one_machine(service, due)
    solution = MOVES.solve(Problem(snapshot, Objective()))
    assert solution.attained == textbook(service, due)


def test_moore_hodgson_drops_the_longest_job_that_makes_others_late() -> None:
    snapshot = one_machine([5, 5, 20], [6.0, 11.0, 21.0])
    order = moore_hodgson(snapshot, snapshot.service, snapshot.e2e)
    assert list(order) == [0, 1, 2]
    snapshot = one_machine([20, 5, 5], [21.0, 22.0, 23.0])
    assert list(moore_hodgson(snapshot, snapshot.service, snapshot.e2e)) == [1, 2, 0]


@given(snapshots(), st.integers(0, 2**31))
@settings(max_examples=30)
def test_the_same_seed_and_moves_give_the_same_plan(snapshot: Snapshot, seed: int) -> None:
    """Law 4, for the annealer."""
    solver = Anneal(time_budget_ms=None, move_budget=300, seed=seed)
    first, second = (solver.solve(Problem(snapshot, Objective(), True)) for _ in range(2))
    np.testing.assert_array_equal(first.order, second.order)
    np.testing.assert_array_equal(first.preempt, second.preempt)


@settings(max_examples=60)
@given(snapshots(max_size=8), st.booleans())
def test_a_time_budget_gives_a_plan_whoever_runs_and_waits(
    snapshot: Snapshot, preemption: bool
) -> None:
    """Law 8, by the clock: nobody waits, nobody runs, or anything between."""
    solution = Anneal(time_budget_ms=0.5).solve(Problem(snapshot, Objective(), preemption))
    Plan(solution.order, solution.preempt).check(snapshot)


@pytest.mark.parametrize("restarts", [1, 3])
@pytest.mark.parametrize("moves", [0, 1, 100, 1000])
def test_no_more_moves_are_made_than_the_budget_has(moves: int, restarts: int) -> None:
    snapshot = one_machine([3, 1, 4, 1, 5, 9, 2, 6], [5.0] * 8)
    solver = Anneal(time_budget_ms=None, move_budget=moves, restarts=restarts)
    assert solver.solve(Problem(snapshot, Objective())).moves == moves


def test_exhaustive_search_refuses_what_would_take_for_ever() -> None:
    with pytest.raises(ValueError, match="at most 8 waiting"):
        Exhaustive().solve(Problem(one_machine([1] * 9, [5.0] * 9), Objective()))


@pytest.mark.parametrize(
    ("order", "preempt"),
    [([0, 1], []), ([0, 0, 1], []), ([0, 1, 2], [2]), ([0, 1, 2], [0, 0]), ([0, 1, 2], [7])],
)
def test_what_is_no_plan_is_refused(order: list[int], preempt: list[int]) -> None:
    """Law 8."""
    snapshot = one_machine([1, 1, 1], [5.0] * 3)
    snapshot.live["running"][0] = True
    with pytest.raises(PlanError):
        Plan(np.array(order), np.array(preempt, dtype=np.int64)).check(snapshot)
