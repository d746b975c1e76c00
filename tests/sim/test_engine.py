"""The simulated engine: what its shortcuts leave out, and what it is asked wrongly."""

from collections.abc import Iterator
from dataclasses import replace
from math import inf, isnan

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from slosched import EngineLimits, Plan, Request, Slo, Snapshot, TracedRequest
from slosched.core.protocols import Policy
from slosched.planner import Charged, Fixed, Planner, Worker
from slosched.policies.aged_sjf import AgedSjf
from slosched.policies.edf import Edf
from slosched.policies.fcfs import Fcfs
from slosched.policies.guard import BoundedPasses, IdleSteps, NoGuard
from slosched.policies.isrtf import Isrtf
from slosched.policies.planned import Planned
from slosched.predictors.history import History
from slosched.sim.engine import Ended, SimulatedEngine
from slosched.sim.options import EngineOptions, SchedulerKind
from slosched.sim.truth import NoisySteps
from slosched_solvers.anneal import Anneal
from tests.strategies import LATENCY, engine_limits, traces

LIMITS = EngineLimits(4, 64, 16, 100)
STOCK = EngineOptions("vllm-fcfs")


class LooksEveryStep(SimulatedEngine):
    """Asks the planner before each step, as a real engine does."""

    def outputs(self, next_arrival: float) -> Iterator[Ended]:
        del next_arrival
        return super().outputs(-inf)


def request(
    i: int, arrival: float, prompt: int = 20, output: int = 5, **more: int
) -> TracedRequest:
    return TracedRequest(Request(f"r{i}", arrival, prompt, Slo(), **more), output)  # type: ignore[arg-type]


def options() -> st.SearchStrategy[EngineOptions]:
    kinds: list[SchedulerKind] = ["slosched", "slosched", "vllm-fcfs", "vllm-priority"]
    return st.builds(
        EngineOptions,
        scheduler=st.sampled_from(kinds),
        async_scheduling=st.booleans(),
        enable_prefix_caching=st.booleans(),
        watermark=st.sampled_from([0.0, 0.1]),
    )


def policies() -> st.SearchStrategy[Policy]:
    planned = Planned(Anneal(time_budget_ms=None, move_budget=40))
    return st.sampled_from([Fcfs(), Edf(), AgedSjf(), Isrtf(window=5), planned])


def planner(policy: Policy, charge: float | None, guard: BoundedPasses | IdleSteps) -> Planner:
    worker: Worker | None = None if charge is None else Charged(charge)
    return Planner(policy, History(), guard, Edf(), worker=worker, repredict_tokens=7)


@settings(max_examples=150)
@given(
    traces(),
    policies(),
    engine_limits(),
    options(),
    st.sampled_from([None, 0.0, 0.03, 2.0]),
    st.sampled_from([BoundedPasses(passes=9), IdleSteps(idle=7, quantum=3)]),
    st.sampled_from([0.0, 0.3]),
)
@example(  # somebody gets a slot while nobody looks, and the plan is to be about that moment
    [request(0, 0.0, 121, 12), request(1, 0.0, 1, 11)],
    Fcfs(guard=NoGuard()), EngineLimits(2, 5, 1, 143), EngineOptions(async_scheduling=False),
    0.0, BoundedPasses(passes=9), 0.0,
)  # fmt: skip
def test_where_nobody_looks_nothing_would_have_been_decided(
    trace: list[TracedRequest],
    policy: Policy,
    limits: EngineLimits,
    how: EngineOptions,
    charge: float | None,
    guard: BoundedPasses | IdleSteps,
    noise: float,
) -> None:
    """Law 16: asking the planner before every step changes nothing."""
    records = []
    for engine_of in (SimulatedEngine, LooksEveryStep):
        asked = planner(policy, charge, guard) if how.scheduler == "slosched" else None
        engine = engine_of(asked, limits, LATENCY, NoisySteps(LATENCY, 1.0, noise, 3), how)
        records.append(engine.run(trace))
    one, other = records
    np.testing.assert_array_equal(one.first_token, other.first_token)
    np.testing.assert_array_equal(one.finish, other.finish)
    assert (one.steps, one.preemptions, one.plans) == (other.steps, other.preemptions, other.plans)
    assert (one.itl.counts == other.itl.counts).all()


@settings(max_examples=60)
@given(traces(), engine_limits(), options())
def test_an_order_that_never_changes_needs_no_plans(
    trace: list[TracedRequest], limits: EngineLimits, how: EngineOptions
) -> None:
    how = replace(how, scheduler="slosched")
    records = []
    for standing in (None, Fcfs()):
        ranks_once = Planner(Fcfs(), History(), NoGuard(), Edf(), standing=standing)
        records.append(SimulatedEngine(ranks_once, limits, LATENCY, options=how).run(trace))
        assert standing is None or ranks_once.plans == 0
    np.testing.assert_array_equal(records[0].finish, records[1].finish)


@settings(max_examples=80)
@given(traces(), engine_limits(), options())
def test_vllms_own_scheduler_serves_everybody_once(
    trace: list[TracedRequest], limits: EngineLimits, how: EngineOptions
) -> None:
    """Laws 1 and 2, without a planner too."""
    own = planner(Fcfs(), None, BoundedPasses()) if how.scheduler == "slosched" else None
    engine = SimulatedEngine(own, limits, LATENCY, options=how)
    ended = list(engine.serve(trace))
    assert sorted(e.index for e in ended) == list(range(len(trace)))
    room = (limits.num_kv_blocks - 1) * limits.block_size
    for e in ended:
        assert isnan(e.finish) == (e.traced.request.input_tokens + e.output_tokens > room)
    assert engine.free_blocks == limits.num_kv_blocks - 1


def test_a_trace_out_of_order_is_refused_by_name() -> None:
    engine = SimulatedEngine(None, LIMITS, LATENCY, options=STOCK)
    with pytest.raises(ValueError, match=r"request 2 comes at 0\.5 s, the one before it at 1 s"):
        engine.run([request(0, 0.0), request(1, 1.0), request(2, 0.5)])


@pytest.mark.parametrize("kind", ["slosched", "vllm-fcfs"])
def test_who_plans_must_be_clear(kind: SchedulerKind) -> None:
    wrong = planner(Fcfs(), None, BoundedPasses()) if kind != "slosched" else None
    with pytest.raises(ValueError, match=f"scheduler '{kind}' needs (a|no) planner"):
        SimulatedEngine(wrong, LIMITS, LATENCY, options=EngineOptions(kind))


def test_answers_end_where_the_client_or_the_model_ends_them() -> None:
    how = EngineOptions("vllm-fcfs", max_model_len=40)
    engine = SimulatedEngine(None, LIMITS, LATENCY, options=how)
    trace = [request(0, 0.0, 20, 30), request(1, 0.0, 20, 30, max_tokens=4), request(2, 0.0, 40)]
    lengths = {e.index: e.output_tokens for e in engine.serve(trace) if not isnan(e.finish)}
    assert lengths == {0: 20, 1: 4}  # the third has no room for an answer


def test_a_prefix_is_computed_once() -> None:
    """Two prompts of 512 tokens whose first page is the same, one after the other."""
    trace = [
        TracedRequest(Request(f"r{i}", 9.0 * i, 520, Slo()), 3, hash_ids=(7, 100 + i))
        for i in range(2)
    ]
    for caching, computed in ((True, 8), (False, 520)):
        how = EngineOptions("vllm-fcfs", enable_prefix_caching=caching)
        engine = SimulatedEngine(None, EngineLimits(4, 1024, 16, 100), LATENCY, options=how)
        first, second = engine.run(trace).ttft
        assert first == pytest.approx(LATENCY.step(520, 0, 0))
        assert second == pytest.approx(LATENCY.step(computed, 0, 0))


def test_asynchronous_scheduling_keeps_the_device_busy_and_a_newcomer_waiting() -> None:
    trace = [request(0, 0.0, 20, 50), request(1, LATENCY.base / 2, 20, 5)]
    waited = []
    for asynchronous in (False, True):
        how = EngineOptions("vllm-fcfs", async_scheduling=asynchronous)
        engine = SimulatedEngine(None, LIMITS, LATENCY, options=how)
        waited.append(engine.run(trace).ttft[1])
    # Its prompt has to let the step by that was scheduled ahead.
    assert waited[1] - waited[0] == pytest.approx(LATENCY.step(0, 1, 21))


def test_what_happens_before_the_scheduler_is_waited_for() -> None:
    trace = [request(0, 1.0), request(1, 1.2)]
    times = []
    for overhead in (0.0, 0.25):
        how = EngineOptions("vllm-fcfs", overhead=overhead)
        times.append(SimulatedEngine(None, LIMITS, LATENCY, options=how).run(trace).ttft)
    np.testing.assert_allclose(times[1], times[0] + 0.25)


@pytest.mark.parametrize("learns", [True, False])
def test_plans_go_by_what_steps_take(learns: bool) -> None:
    """As inside of vLLM: whoever plans is told a line, and sees other steps."""
    rng = np.random.default_rng(3)
    trace = [
        request(i, 0.1 * i, int(rng.integers(10, 400)), int(rng.integers(20, 90)))
        for i in range(80)
    ]
    seen: list[float] = []

    class Watched(Fcfs):
        def plan(self, snapshot: Snapshot) -> Plan:
            seen.append(snapshot.latency.step(100, 4, 2000) / LATENCY.step(100, 4, 2000))
            return super().plan(snapshot)

    planned = Planner(Watched(), History(), NoGuard(), Fcfs(), margin=Fixed())
    how = EngineOptions(learns_latency=learns)
    truth = NoisySteps(LATENCY, slower=1.5)
    SimulatedEngine(planned, LIMITS, LATENCY, truth, how).run(trace)
    assert seen[0] == pytest.approx(1.0)
    assert seen[-1] == pytest.approx(1.5 if learns else 1.0, rel=0.02)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"watermark": 1.0}, "watermark must be at least 0 and below 1, got 1.0"),
        ({"max_model_len": 1}, "max_model_len must be at least 2, got 1"),
        ({"overhead": -0.1}, "overhead must not be negative, and finite, got -0.1"),
        ({"page_tokens": 0}, "page_tokens must be at least 1, got 0"),
    ],
)
def test_options_have_bounds(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EngineOptions(**wrong)  # type: ignore[arg-type]
