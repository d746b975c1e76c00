"""Laws 1, 3, 4, 13 and 14 of docs/laws.md where plans are late: solved beside the engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from slosched import EngineLimits, LinearLatency, Plan, Request, Slo, Snapshot, TracedRequest
from slosched.core.protocols import Policy
from slosched.planner import Charged, Decision, Planner
from slosched.planner.ranks import FRONT
from slosched.policies.edf import Edf
from slosched.policies.fcfs import Fcfs
from slosched.policies.guard import BoundedPasses, NoGuard
from slosched.policies.planned import Planned
from slosched.predictors.oracle import Oracle
from slosched.sim.engine import SimulatedEngine
from slosched.sim.records import Records
from slosched.sim.summary import summarize
from slosched_solvers.anneal import Anneal
from tests.strategies import LATENCY, engine_limits, traces


@dataclass(frozen=True)
class Erratic:
    """Any order, any preemption, any limit; fails now and then."""

    seed: int
    failing: float = 0.0

    def plan(self, snapshot: Snapshot) -> Plan:
        rng = np.random.default_rng([self.seed, len(snapshot), int(snapshot.now * 1e3)])
        if rng.random() < self.failing:
            match int(rng.integers(3)):
                case 0:
                    raise RuntimeError("no plan today")
                case 1:
                    return Plan(np.zeros(len(snapshot) + 1, dtype=np.int64))
                case _:
                    return Plan(np.arange(len(snapshot)), np.arange(len(snapshot) + 1))
        running = np.flatnonzero(snapshot.running)
        limits = snapshot.limits
        return Plan(
            rng.permutation(len(snapshot)),
            running[rng.random(len(running)) < 0.2],
            int(rng.integers(1, limits.max_num_seqs + 1)),
            int(rng.integers(1, limits.max_num_batched_tokens + 1)),
        )


def policies() -> st.SearchStrategy[Policy]:
    planned = Planned(Anneal(time_budget_ms=None, move_budget=40))
    erratic = st.builds(Erratic, st.integers(0, 99), st.sampled_from([0.0, 0.5, 1.0]))
    return st.one_of(st.just(planned), erratic)


charges = st.one_of(st.floats(1e-4, 0.1), st.floats(0.1, 3.0))


class Watched(Planner):
    """Looks after every call whether the plan in force may be so."""

    charge = 0.0
    step = 0.0  # s, the longest so far
    age = 0.0  # of the oldest plan that was in force
    _at = -inf

    def plan(self, now: float, limits: EngineLimits, latency: LinearLatency) -> Decision:
        plans, failures = self.plans, self.failures
        if len(self.table) and self._at > -inf:
            self.step = max(self.step, now - self._at)
        self._at = now
        decision = super().plan(now, limits, latency)
        if self.plans > plans:
            assert self.plan_age(now) >= self.charge * (1 - 1e-9)
        elif self.failures == failures == 0:
            assert not len(decision.preempt)  # an old plan preempts nobody twice
        self.age = max(self.age, self.plan_age(now))
        running = self.table.rows["running"]
        assert running[decision.preempt].all()
        assert 1 <= decision.max_num_seqs <= limits.max_num_seqs
        assert 1 <= decision.max_num_batched_tokens <= limits.max_num_batched_tokens
        return decision


def simulated(
    trace: Sequence[TracedRequest],
    policy: Policy,
    limits: EngineLimits,
    charge: float,
    guard: BoundedPasses | NoGuard | None = None,
    **options: float,
) -> tuple[Records, SimulatedEngine, Watched]:
    lengths = Oracle(lengths={t.request.request_id: t.output_tokens for t in trace})
    planner = Watched(policy, lengths, guard or NoGuard(), Edf(), worker=Charged(charge), **options)  # type: ignore[arg-type]
    planner.charge = charge
    engine = SimulatedEngine(planner, limits, LATENCY)
    return engine.run(trace), engine, planner


@settings(max_examples=150)
@given(traces(), policies(), engine_limits(), charges)
def test_late_plans_lose_nobody(
    trace: list[TracedRequest], policy: Policy, limits: EngineLimits, charge: float
) -> None:
    """Laws 1, 2 and 14: whatever comes of a policy, and however late, everybody is served."""
    records, engine, planner = simulated(trace, policy, limits, charge)
    kv_tokens = (limits.num_kv_blocks - 1) * limits.block_size
    lost = [t.request.input_tokens + t.output_tokens > kv_tokens for t in trace]
    np.testing.assert_array_equal(~records.finished, lost)
    assert len(planner.table) == 0
    assert engine.free_blocks == limits.num_kv_blocks - 1


class Obedient(SimulatedEngine):
    """Looks whether each step keeps to its decision."""

    def _launch(self, tokens: int) -> None:
        counters, decision = self._counters, self._decision
        admitted = int(counters["admitted"])
        assert not admitted or counters["running"] <= decision.max_num_seqs
        if counters["sequences"] and counters["prefill_tokens"]:
            assert tokens <= decision.max_num_batched_tokens
        super()._launch(tokens)


@settings(max_examples=200)
@given(traces(), st.builds(Erratic, st.integers(0, 99)), engine_limits(), charges)
def test_the_engine_keeps_to_the_limits_of_a_plan(
    trace: list[TracedRequest], policy: Policy, limits: EngineLimits, charge: float
) -> None:
    lengths = Oracle(lengths={t.request.request_id: t.output_tokens for t in trace})
    planner = Planner(policy, lengths, NoGuard(), Edf(), worker=Charged(charge))
    Obedient(planner, limits, LATENCY).run(trace)
    assert planner.failures == 0 or charge > 1.0  # s, the patience


@settings(max_examples=60)
@given(traces(), policies(), engine_limits(), charges, st.integers(1, 24))
def test_no_late_plan_knows_the_future(
    trace: list[TracedRequest], policy: Policy, limits: EngineLimits, charge: float, cut: int
) -> None:
    """Law 3: what comes later changes nothing that was over before it came."""
    whole, _, _ = simulated(trace, policy, limits, charge)
    part, _, _ = simulated(trace[:cut], policy, limits, charge)
    if cut < len(trace):
        over = part.finish < trace[cut].request.arrival
        np.testing.assert_array_equal(part.finish[over], whole.finish[:cut][over])


@settings(max_examples=25)
@given(traces(), policies(), engine_limits(), charges)
def test_late_plans_come_the_same_every_time(
    trace: list[TracedRequest], policy: Policy, limits: EngineLimits, charge: float
) -> None:
    """Law 4."""
    runs = [simulated(trace, policy, limits, charge)[0] for _ in range(2)]
    reports = [orjson.dumps(summarize(records)) for records in runs]
    assert reports[0] == reports[1]


@settings(max_examples=80)
@given(traces(), policies(), engine_limits(), charges, st.floats(0.05, 2), st.floats(0.05, 2))
def test_no_plan_grows_older_than_it_may(
    trace: list[TracedRequest],
    policy: Policy,
    limits: EngineLimits,
    charge: float,
    most: float,
    patience: float,
) -> None:
    """Law 14: its age, and at worst a solve in flight or the patience with it, and two steps."""
    _, _, planner = simulated(trace, policy, limits, charge, max_plan_age=most, patience=patience)
    assert planner.age <= max(most, charge) + min(charge, patience) + 3 * planner.step


@dataclass(frozen=True)
class Dawdling:
    """Admits the newest first: whoever came early waits."""

    def plan(self, snapshot: Snapshot) -> Plan:
        return Plan(np.arange(len(snapshot))[::-1].copy())


@settings(max_examples=60)
@given(traces(max_size=40), st.integers(1, 6), charges)
def test_the_guard_holds_where_plans_are_late(
    trace: list[TracedRequest], passes: int, charge: float
) -> None:
    """Law 13: once two plans know that somebody was passed too often, nobody passes any more."""
    limits = EngineLimits(2, 300, 16, 700)
    lengths = Oracle(lengths={t.request.request_id: t.output_tokens for t in trace})
    planner = Planner(
        Dawdling(), lengths, BoundedPasses(passes=passes), Edf(), worker=Charged(charge)
    )
    table, admit = planner.table, planner.table.admit
    since: dict[int, int] = {}  # serial of whom the guard ought to promote: plans made by then

    def noted(row: int) -> None:
        live = table.live()
        live = live[~table.rows["running"][live]]
        table.snapshot(0.0, EngineLimits(), LATENCY)  # counts passes
        before = dict(zip(live.tolist(), table.rows["passes"][live].tolist(), strict=True))
        admit(row)
        table.snapshot(0.0, EngineLimits(), LATENCY)  # counts passes
        for other, count in before.items():
            serial = int(table.rows["serial"][other])
            if count >= passes and table.rows["passes"][other] > count:
                assert table.rows["rank"][other] >= FRONT
                assert planner.plans <= since.setdefault(serial, planner.plans) + 1
            elif table.rows["passes"][other] >= passes:
                since.setdefault(serial, planner.plans)

    table.admit = noted  # type: ignore[method-assign]
    SimulatedEngine(planner, limits, LATENCY).run(trace)


def test_a_stream_in_haste_starves_nobody() -> None:
    """Law 13, where each plan is outdated by newcomers that cannot wait for the next."""
    slos = [Slo(), Slo(), *(Slo(ttft=0.4) for _ in range(300))]  # the second has to wait
    trace = [
        TracedRequest(Request(f"r{i}", max(0.05 * (i - 2), 0.0), 10, slo), 4 if i else 40)
        for i, slo in enumerate(slos)
    ]
    lengths = Oracle(lengths={t.request.request_id: t.output_tokens for t in trace})
    guard = BoundedPasses(passes=20)
    planner = Planner(Dawdling(), lengths, guard, Fcfs(), worker=Charged(0.2))
    records = SimulatedEngine(planner, EngineLimits(1, 64, 16, 64), LATENCY).run(trace)
    assert 20 <= int((records.first_token[2:] < records.first_token[1]).sum()) <= 30
