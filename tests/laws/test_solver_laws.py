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
from slosched_solvers.instance import Instance, build
from slosched_solvers.rollout import Trial, replay
from slosched_solvers.rollout_reference import rollout_reference
from slosched_solvers.starts import moore_hodgson, starts
from tests.strategies import snapshots

MOVES = Anneal(time_budget_ms=None, move_budget=1500)
kinds = st.sampled_from(KINDS)


def given_up(instance: Instance, row: int) -> Instance:
    """Take a running request's slot and KV: it waits, and owes all of its tokens again."""
    changed = instance._replace(
        running=instance.running.copy(),
        prefill=instance.prefill.copy(),
        context=instance.context.copy(),
    )
    changed.running[row] = False
    changed.prefill[row] += changed.context[row] + (changed.prefill[row] == 0)
    changed.context[row] = 0
    return changed


@settings(max_examples=400)
@given(snapshots(max_size=25), st.booleans(), st.randoms(use_true_random=False), st.data())
def test_the_rollout_equals_its_plain_python_twin(
    snapshot: Snapshot, robust: bool, random: Random, data: st.DataObject
) -> None:
    """Law 7, under KV pressure, with preempted requests and prefix hits, in every scenario."""
    instance = build(snapshot, robust=robust)
    running = np.flatnonzero(snapshot.running & (snapshot.prefill == 0))
    if len(running) and data.draw(st.booleans()):
        instance = given_up(instance, int(data.draw(st.sampled_from(list(running)))))
    evaluate = Evaluator(instance, Objective())
    order = np.array(random.sample(range(len(snapshot)), len(snapshot)))
    order = order[np.argsort(~instance.running[order], kind="stable")]
    evaluate(order)
    for scenario in range(len(instance.remaining)):
        first, finish = rollout_reference(instance, order, scenario)
        np.testing.assert_allclose(evaluate.first[scenario], first, rtol=1e-9)
        np.testing.assert_allclose(evaluate.finish[scenario], finish, rtol=1e-9)


@settings(max_examples=200)
@given(snapshots(max_size=25), kinds, st.randoms(use_true_random=False))
def test_the_kernels_price_is_the_objectives(
    snapshot: Snapshot, kind: ObjectiveKind, random: Random
) -> None:
    """Law 7, for the cost."""
    objective = Objective(kind, tardiness_weight=0.3)
    evaluate = Evaluator(build(snapshot), objective)
    price = evaluate(shuffled(snapshot, 0, random))
    expected = cost(snapshot, objective, evaluate.first[0], evaluate.finish[0])
    assert price == pytest.approx(expected)


@settings(max_examples=100)
@given(snapshots(max_size=25), st.randoms(use_true_random=False))
def test_scenarios_deal_out_all_three_lengths_and_are_priced_alike(
    snapshot: Snapshot, random: Random
) -> None:
    """Each request is short in one, as expected in one, long in one; the price is their mean."""
    instance = build(snapshot, robust=True)
    if len(instance.remaining) > 1:
        np.testing.assert_array_equal(
            np.sort(instance.remaining, axis=0), np.sort(snapshot.scenarios, axis=0)
        )
    order = shuffled(snapshot, 0, random)
    prices = [
        Evaluator(instance._replace(remaining=lengths[None, :]), Objective())(order)
        for lengths in instance.remaining
    ]
    assert Evaluator(instance, Objective())(order) == pytest.approx(np.mean(prices))


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
@given(snapshots(max_size=40), kinds, st.booleans(), st.randoms(use_true_random=False))
def test_a_replay_from_a_checkpoint_ends_like_one_from_scratch(
    snapshot: Snapshot, kind: ObjectiveKind, robust: bool, random: Random
) -> None:
    """Law 7, for the annealer's moves: whatever changes behind a place, and is then in force."""
    evaluate = Evaluator(build(snapshot, robust=robust), Objective(kind))
    order = shuffled(snapshot, 0, random)
    saved, _ = evaluate.checkpoints(order)
    waiting = int((~snapshot.running).sum())
    s = random.randrange(len(evaluate.first))
    alone = Evaluator(
        evaluate.instance._replace(remaining=evaluate.instance.remaining[s : s + 1]),
        Objective(kind),
    )
    for _ in range(8):
        place = random.randrange(waiting + 1)
        trial = shuffled(snapshot, place, random, order)
        begin = int(latest(saved, s, place)) if place < waiting else FROM_SCRATCH
        expected = alone(trial)
        limit = random.choice([np.inf, expected + random.uniform(-1, 1)])
        limit = np.inf if kind == "g" else limit
        position = np.empty_like(trial)
        position[trial] = np.arange(len(trial))
        found = replay(
            evaluate.requests, s, trial, position, evaluate.settled, begin,
            Trial(place, limit, np.inf, 0.0, 0.0, 0.0), evaluate.price,
            evaluate.first[s], evaluate.finish[s], evaluate.slots, saved,
        )  # fmt: skip
        if np.isinf(found):
            assert expected > limit - 1e-9
            continue
        assert found == pytest.approx(expected)
        if random.random() < 0.5:
            commit(saved, s, begin, place)
            order = trial


@st.composite
def problems(draw: st.DrawFn, max_size: int = 20) -> Problem:
    """Draw a snapshot, an objective, and what the plan may decide."""
    snapshot = draw(snapshots(max_size))
    promoted = draw(st.lists(st.integers(0, len(snapshot) - 1), unique=True, max_size=3))
    preemption, gate, budget, robust = (draw(st.booleans()) for _ in range(4))
    rows = np.array(promoted, dtype=np.int64)
    return Problem(snapshot, Objective(draw(kinds)), preemption, gate, budget, robust, rows)


@settings(max_examples=200)
@given(problems())
def test_a_solution_is_a_permutation_and_its_cost_is_its_own(problem: Problem) -> None:
    """Law 8; the order, the preemptions and the limits, rolled out, cost what the solver said."""
    snapshot = problem.snapshot
    solution = MOVES.solve(problem)
    plan = Plan(
        solution.order, solution.preempt, solution.max_num_seqs, solution.max_num_batched_tokens
    )
    plan.check(snapshot)
    instance = build(snapshot, robust=problem.robust)
    for row in solution.preempt:
        instance = given_up(instance, int(row))
    for at, limit in enumerate((solution.max_num_seqs, solution.max_num_batched_tokens)):
        instance.limits[at] = instance.limits[at] if limit is None else limit
    assert Evaluator(instance, problem.objective)(solution.order) == pytest.approx(solution.cost)
    met = attained(snapshot, solution.first, solution.finish)
    assert solution.attained == met.sum()


@settings(max_examples=100)
@given(problems())
def test_a_plan_decides_only_what_it_may(problem: Problem) -> None:
    """Promoted requests go first and keep their slots; what is switched off stays as it is."""
    snapshot = problem.snapshot
    solution = MOVES.solve(problem)
    assert problem.preemption or not len(solution.preempt)
    assert problem.admission_gate or solution.max_num_seqs is None
    assert problem.prefill_budget or solution.max_num_batched_tokens is None
    assert not np.isin(solution.preempt, problem.promoted).any()
    waiting = [row for row in solution.order if not snapshot.running[row]]
    promoted = [row for row in problem.promoted if not snapshot.running[row]]
    assert waiting[: len(promoted)] == promoted


@settings(max_examples=60)
@given(snapshots(max_size=20), kinds, st.booleans())
def test_annealing_is_never_worse_than_its_best_start(
    snapshot: Snapshot, kind: ObjectiveKind, preemption: bool
) -> None:
    """Law 6, its last part."""
    problem = Problem(snapshot, Objective(kind), preemption)
    evaluate = Evaluator(build(snapshot), problem.objective)
    best_start = min(evaluate(start) for start in starts(problem))
    assert MOVES.solve(problem).cost <= best_start + 1e-9


@settings(max_examples=60)
@given(snapshots(max_size=30), kinds, st.booleans())
def test_that_holds_for_what_lies_behind_the_horizon_too(
    snapshot: Snapshot, kind: ObjectiveKind, preemption: bool
) -> None:
    """Law 6: the search sees the first four only, the price is that of all."""
    problem = Problem(snapshot, Objective(kind), preemption)
    evaluate = Evaluator(build(snapshot), problem.objective)
    best_start = min(evaluate(start) for start in starts(problem))
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
    order = Planned(MOVES, robust=False).plan(snapshot).order
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
