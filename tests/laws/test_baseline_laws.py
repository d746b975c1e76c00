"""Laws 1, 2, 3, 8 and 13 of docs/laws.md for the policies that others published."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from slosched import EngineLimits, Snapshot, TracedRequest
from slosched.core.protocols import Policy
from slosched.planner import Planner
from slosched.policies.density import Density
from slosched.policies.fcfs import Fcfs
from slosched.policies.guard import IdleSteps
from slosched.policies.ltr import Ltr
from slosched.policies.sjf import Sjf
from slosched.policies.ssjf import Ssjf
from slosched.predictors.oracle import Oracle
from slosched.sim.engine import SimulatedEngine
from slosched.sim.records import Records
from slosched_solvers.moore_hodgson import MooreHodgson
from slosched_solvers.slo_sa import SloSa
from tests.strategies import LATENCY, engine_limits, snapshots, traces

BASELINES: list[Policy] = [
    Ltr(),
    Ltr(preemption=True),
    Ssjf(),
    Density(),
    MooreHodgson(),
    SloSa(move_budget=60),
]


def planner(trace: list[TracedRequest], policy: Policy, guard: IdleSteps) -> Planner:
    oracle = Oracle(lengths={t.request.request_id: t.output_tokens for t in trace})
    return Planner(policy, oracle, guard, Fcfs())


def simulated(
    trace: list[TracedRequest], policy: Policy, limits: EngineLimits
) -> tuple[Records, SimulatedEngine, Planner]:
    plans = planner(trace, policy, IdleSteps(idle=7, quantum=3))
    engine = SimulatedEngine(plans, limits, LATENCY)
    return engine.run(trace), engine, plans


@settings(max_examples=150)
@given(traces(), st.sampled_from(BASELINES), engine_limits())
def test_every_request_ends_once_and_leaves_nothing_behind(
    trace: list[TracedRequest], policy: Policy, limits: EngineLimits
) -> None:
    """Laws 1 and 2."""
    records, engine, plans = simulated(trace, policy, limits)
    failed = [
        t.request.input_tokens + t.output_tokens > limits.kv_tokens - limits.block_size
        for t in trace
    ]
    np.testing.assert_array_equal(~records.finished, failed)
    assert engine.free_blocks == limits.num_kv_blocks - 1
    assert len(plans.table) == 0
    assert plans.failures == 0


@settings(max_examples=60)
@given(traces(), st.sampled_from(BASELINES), engine_limits(), st.integers(1, 24))
def test_no_decision_uses_the_future(
    trace: list[TracedRequest], policy: Policy, limits: EngineLimits, cut: int
) -> None:
    """Law 3: what comes later changes nothing that was over before it came."""
    whole, part = simulated(trace, policy, limits)[0], simulated(trace[:cut], policy, limits)[0]
    if cut < len(trace):
        over = part.finish < trace[cut].request.arrival
        np.testing.assert_array_equal(part.finish[over], whole.finish[:cut][over])


@settings(max_examples=200)
@given(snapshots(max_size=25), st.sampled_from(BASELINES))
def test_a_baseline_plans_for_everybody(snapshot: Snapshot, policy: Policy) -> None:
    """Law 8."""
    policy.plan(snapshot).check(snapshot)


@settings(max_examples=60)
@given(traces(max_size=40), st.sampled_from([*BASELINES, Sjf()]), st.integers(1, 20))
def test_who_was_idle_too_long_is_admitted_before_anybody_else(
    trace: list[TracedRequest], policy: Policy, idle: int
) -> None:
    """Law 13, for vllm-ltr's guard: nobody overtakes whom it promotes."""
    plans = planner(trace, policy, IdleSteps(idle=idle, quantum=3))
    table, admit = plans.table, plans.table.admit
    admitted = 0

    def noted(row: int) -> None:
        nonlocal admitted
        live, rows = table.live(), table.rows
        promoted = live[(rows["quantum"][live] > 0) & ~rows["running"][live]]
        assert not len(promoted) or row in promoted
        assert (rows["idle"][live] < idle).all()
        admitted += 1
        admit(row)

    table.admit = noted  # type: ignore[method-assign]
    records = SimulatedEngine(plans, EngineLimits(2, 300, 16, 700), LATENCY).run(trace)
    assert admitted >= records.finished.sum()
    assert plans.failures == 0
