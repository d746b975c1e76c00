"""Laws 1 to 5 and 13 of docs/laws.md, on the simulator."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import orjson
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from slosched import (
    EngineLimits,
    LinearLatency,
    Objective,
    Plan,
    Request,
    Slo,
    Snapshot,
    TracedRequest,
)
from slosched.core.protocols import Policy
from slosched.core.types import FloatArray, IntArray
from slosched.planner import Planner
from slosched.policies.aged_sjf import AgedSjf
from slosched.policies.edf import Edf
from slosched.policies.fcfs import Fcfs
from slosched.policies.guard import BoundedPasses, NoGuard
from slosched.policies.isrtf import Isrtf
from slosched.policies.least_slack import LeastSlack
from slosched.policies.planned import Planned
from slosched.policies.priority import Priority
from slosched.policies.sjf import Sjf
from slosched.predictors.oracle import Oracle
from slosched.sim.engine import SimulatedEngine
from slosched.sim.offline import plan_offline
from slosched.sim.records import Records
from slosched.sim.summary import summarize
from slosched_solvers.anneal import Anneal
from tests.strategies import LATENCY, engine_limits, traces


@dataclass(frozen=True)
class Erratic:
    """A policy for tests: any order, and any running request may lose its slot."""

    seed: int

    def plan(self, snapshot: Snapshot) -> Plan:
        rng = np.random.default_rng([self.seed, len(snapshot), int(snapshot.now * 1e3)])
        running = np.flatnonzero(snapshot.running)
        preempt = running[rng.random(len(running)) < 0.2]
        return Plan(rng.permutation(len(snapshot)), preempt)


def policies() -> st.SearchStrategy[Policy]:
    planned = Planned(Anneal(time_budget_ms=None, move_budget=40))
    named = [Fcfs(), Priority(), Edf(), LeastSlack(), Sjf(), AgedSjf(), Isrtf(window=5), planned]
    return st.one_of(st.sampled_from(named), st.builds(Erratic, st.integers(0, 99)))


def oracle(trace: Sequence[TracedRequest]) -> Oracle:
    return Oracle(lengths={t.request.request_id: t.output_tokens for t in trace})


def simulated(
    trace: Sequence[TracedRequest],
    policy: Policy,
    limits: EngineLimits,
    latency: LinearLatency = LATENCY,
    guard: BoundedPasses | NoGuard | None = None,
) -> tuple[Records, SimulatedEngine, Planner]:
    planner = Planner(policy, oracle(trace), guard or NoGuard(), Fcfs())
    engine = SimulatedEngine(planner, limits, latency)
    return engine.run(trace), engine, planner


@settings(max_examples=150)
@given(traces(), policies(), engine_limits())
def test_every_request_ends_once_and_leaves_nothing_behind(
    trace: list[TracedRequest], policy: Policy, limits: EngineLimits
) -> None:
    """Laws 1 and 2: injected = finished + failed, and the KV cache is whole again."""
    records, engine, planner = simulated(trace, policy, limits)
    failed = [
        t.request.input_tokens + t.output_tokens > (limits.num_kv_blocks - 1) * limits.block_size
        for t in trace
    ]
    np.testing.assert_array_equal(~records.finished, failed)
    assert len(planner.table) == 0
    assert engine.free_blocks == limits.num_kv_blocks - 1
    assert planner.failures == 0
    # Every token but each request's first ends one gap, and recomputing makes no token twice.
    served = [t.output_tokens for t, lost in zip(trace, failed, strict=True) if not lost]
    assert records.itl.count == sum(served) - len(served)


@settings(max_examples=80)
@given(traces(), policies(), engine_limits())
def test_time_does_not_run_back(
    trace: list[TracedRequest], policy: Policy, limits: EngineLimits
) -> None:
    """Law 3: a request starts after it came and ends after it started; gaps are positive."""
    records, _, _ = simulated(trace, policy, limits)
    done = records.finished
    assert (records.ttft[done] > 0).all()
    assert (records.finish[done] >= records.first_token[done]).all()
    assert records.itl.counts[0] == 0


@settings(max_examples=60)
@given(traces(), policies(), engine_limits(), st.integers(1, 24))
def test_no_decision_uses_the_future(
    trace: list[TracedRequest], policy: Policy, limits: EngineLimits, cut: int
) -> None:
    """Law 3: what comes later changes nothing that was over before it came."""
    whole, _, _ = simulated(trace, policy, limits)
    part, _, _ = simulated(trace[:cut], policy, limits)
    if cut >= len(trace):
        return
    over = part.finish < trace[cut].request.arrival
    np.testing.assert_array_equal(part.finish[over], whole.finish[:cut][over])


@settings(max_examples=25)
@given(traces(), policies(), engine_limits())
def test_the_same_inputs_give_the_same_bytes(
    trace: list[TracedRequest], policy: Policy, limits: EngineLimits
) -> None:
    """Law 4."""
    reports = [orjson.dumps(summarize(simulated(trace, policy, limits)[0])) for _ in range(2)]
    assert reports[0] == reports[1]


@dataclass(frozen=True)
class Constant:
    """A predictor for tests: it knows nothing."""

    def remaining(self, requests: Sequence[Request], produced: IntArray) -> FloatArray:
        assert len(requests) == len(produced)
        assert not any(hasattr(request, "output_tokens") for request in requests)
        return np.full(len(requests), 50.0)


@settings(max_examples=60)
@given(traces(), policies(), engine_limits(), st.data())
def test_only_the_oracle_knows_lengths(
    trace: list[TracedRequest], policy: Policy, limits: EngineLimits, data: st.DataObject
) -> None:
    """Law 5: two futures that differ in lengths look the same until a length shows."""
    other = [
        TracedRequest(t.request, t.output_tokens + data.draw(st.integers(0, 30))) for t in trace
    ]
    starts = []
    for variant in (trace, other):
        planner = Planner(policy, Constant(), NoGuard(), Fcfs())
        records = SimulatedEngine(planner, limits, LATENCY).run(variant)
        assert planner.failures == 0
        starts.append((records.first_token, records.finish))
    # Whom no cache could ever hold is turned away by its length: leave such traces out.
    kv_tokens = (limits.num_kv_blocks - 1) * limits.block_size
    assume(all(t.request.input_tokens + t.output_tokens <= kv_tokens for t in (*trace, *other)))
    first_end = min(np.nanmin(starts[0][1]), np.nanmin(starts[1][1]))
    for a, b in ((starts[0][0], starts[1][0]), (starts[1][0], starts[0][0])):
        early = a < first_end
        np.testing.assert_array_equal(a[early], b[early])


@settings(max_examples=60)
@given(traces(max_size=40), policies(), st.integers(1, 6))
def test_the_guard_bounds_how_often_anybody_is_passed(
    trace: list[TracedRequest], policy: Policy, passes: int
) -> None:
    """Law 13: while a request waits, no more later ones get a slot than the guard allows."""
    planner = Planner(policy, oracle(trace), BoundedPasses(passes=passes), Fcfs())
    limits = EngineLimits(2, 300, 16, 700)
    table, admit = planner.table, planner.table.admit
    passed = []

    def noted(row: int) -> None:
        admit(row)
        table.snapshot(0.0, EngineLimits(), LATENCY)  # counts passes
        live = table.live()
        passed.append(table.rows["passes"][live].max())

    table.admit = noted  # type: ignore[method-assign]
    SimulatedEngine(planner, limits, LATENCY).run(trace)
    # The bound may be reached in the middle of a step, which admits as many as there are slots.
    assert max(passed) < passes + limits.max_num_seqs


def test_the_kernel_and_the_simulator_agree_on_a_plan() -> None:
    """Law 7's other side: an undisturbed plan comes true within 2%."""
    rng = np.random.default_rng(3)
    trace = [
        TracedRequest(
            Request(f"r{i}", 0.0, int(rng.integers(1, 800)), Slo()), int(rng.integers(1, 200))
        )
        for i in range(60)
    ]
    limits = EngineLimits(8, 512, 16, 4000)
    plan = plan_offline(
        trace, limits, LATENCY, Objective(), Anneal(time_budget_ms=None, move_budget=0)
    )
    order = [trace[row].request.request_id for row in plan.solution.order]

    @dataclass(frozen=True)
    class Fixed:
        def plan(self, snapshot: Snapshot) -> Plan:
            serial = {int(s): i for i, s in enumerate(snapshot.live["serial"])}
            rows = [serial[int(s)] for s in plan.solution.order if int(s) in serial]
            return Plan(np.array(rows, dtype=np.int64))

    records, _, _ = simulated(trace, Fixed(), limits)
    assert order
    np.testing.assert_allclose(records.finish, plan.solution.finish, rtol=0.02)
