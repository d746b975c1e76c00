"""Calibration of a fake engine in virtual time: what is found is what the engine was told."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slosched import EngineError, LinearLatency, ServerError
from slosched.calibrate.error import by_regime
from slosched.calibrate.grid import Scope, cases, in_budget
from slosched.calibrate.limits import Limits
from slosched.calibrate.live import Calibration, Wanted, calibrate
from slosched.client.answer import Answer
from slosched.client.connection import Call
from slosched.core.detailed_latency import DetailedLatency, StepLatency
from tests.engines import virtual_time
from tests.engines.fake_connection import FakeConnection
from tests.engines.fake_engine import FakeEngine

CPU = LinearLatency(0.064, 1.7e-3, 2.1e-3, 4.3e-6)
GPU = LinearLatency(0.030, 0.05e-3, 0.21e-3, 0.17e-6)
QUICK = Wanted("http://fake", longest=256, quick=True, seconds=1e4)


STAIRS = DetailedLatency(0.05, 1.7e-3, 4e-6, 0.01, ((1, 0.0), (2, 0.002), (4, 0.003), (8, 0.018)))


def calibrated(
    monkeypatch: pytest.MonkeyPatch,
    latency: StepLatency,
    wanted: Wanted = QUICK,
    connect: type[FakeConnection] = FakeConnection,
    **engine: Any,
) -> Calibration:
    async def story() -> Calibration:
        connection = connect(FakeEngine(latency, **engine))
        monkeypatch.setattr("slosched.calibrate.live.Connection", connection)
        return await calibrate(wanted)

    return virtual_time.run(monkeypatch, story())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(
    st.builds(
        LinearLatency, st.floats(0.005, 0.1), st.floats(1e-4, 2e-3), st.floats(1e-4, 3e-3),
        st.floats(1e-7, 1e-5),
    ),
    st.floats(0, 0.03),
)  # fmt: skip
def test_calibration_finds_the_engines_own_coefficients(
    monkeypatch: pytest.MonkeyPatch, truth: LinearLatency, overhead: float
) -> None:
    found = calibrated(monkeypatch, truth, overhead=overhead).fitted
    for name in ("base", "per_prefill_token", "per_sequence", "per_context_token"):
        assert getattr(found.latency, name) == pytest.approx(getattr(truth, name), rel=0.02), name
    assert found.overhead == pytest.approx(overhead, abs=0.001)


def test_what_a_line_leaves_out_is_found_for_simulations(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = Wanted("http://fake", longest=600)
    found = calibrated(monkeypatch, STAIRS, wanted, overhead=0.007)
    assert found.detailed is not None
    model = found.detailed.latency
    for name in ("base", "per_prefill_token", "per_context_token", "prompt_step"):
        assert getattr(model, name) == pytest.approx(getattr(STAIRS, name), rel=0.05), name
    assert model.by_sequences(8)[[1, 2, 4, 8]] == pytest.approx([0, 2e-3, 3e-3, 0.018], abs=5e-4)
    assert found.detailed.overhead == pytest.approx(0.007, abs=0.001)
    detailed = by_regime(found.detailed, found.observations)
    line = by_regime(found.fitted, found.observations)
    assert abs(detailed["burst"].bias) < abs(line["burst"].bias) / 2


@pytest.mark.parametrize(("latency", "budget"), [(CPU, 256), (GPU, 512)], ids=["cpu", "gpu"])
def test_the_regimes_that_are_not_fitted_confirm_the_fit(
    monkeypatch: pytest.MonkeyPatch, latency: LinearLatency, budget: int
) -> None:
    wanted = Wanted("http://fake", longest=600)
    found = calibrated(monkeypatch, latency, wanted, overhead=0.01, max_num_batched_tokens=budget)
    assert found.limits.max_num_batched_tokens == budget
    errors = by_regime(found.fitted, found.observations)
    assert set(errors) == {"prefill", "decode", "mixed", "burst"}
    assert errors["mixed"].p90 < 0.02
    assert errors["burst"].p90 < 0.06
    assert found.seconds < 150


@pytest.mark.parametrize(("slots", "budget"), [(2, 48), (5, 200), (8, 256), (40, 1024)])
@pytest.mark.parametrize("latency", [CPU, GPU], ids=["cpu", "gpu"])
def test_limits_are_found_exactly(
    monkeypatch: pytest.MonkeyPatch, latency: LinearLatency, slots: int, budget: int
) -> None:
    limits = calibrated(
        monkeypatch, latency, max_num_seqs=slots, max_num_batched_tokens=budget
    ).limits
    assert (limits.max_num_seqs, limits.max_num_batched_tokens) == (slots, budget)
    assert (limits.block_size, limits.num_kv_blocks, limits.max_model_len) == (32, 728, 2048)
    assert limits.known_from == {
        "max_model_len": "asked", "block_size": "asked", "num_kv_blocks": "asked",
        "max_num_seqs": "measured", "max_num_batched_tokens": "measured",
    }  # fmt: skip


class _OneByOne(FakeConnection):
    """Lets requests in half a second apart, as a front end does that is short of time."""

    def __init__(self, engine: FakeEngine) -> None:
        super().__init__(engine)
        self.door = asyncio.Lock()

    async def stream(self, call: Call, answer: Answer, timeout_s: float | None = None) -> None:
        async with self.door:
            await asyncio.sleep(0.5)
        await super().stream(call, answer, timeout_s)


def test_slots_are_counted_once_all_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first ones have decoded many tokens by then, and nobody else."""
    wanted = replace(QUICK, max_num_batched_tokens=256)
    limits = calibrated(monkeypatch, CPU, wanted, _OneByOne, max_num_seqs=5).limits
    assert limits.max_num_seqs == 5


def test_what_does_not_show_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """No prompt can be as long as a step, and there are more slots than blocks."""
    limits = calibrated(
        monkeypatch, GPU, max_num_seqs=1000, max_num_batched_tokens=4096, num_kv_blocks=100
    ).limits
    assert limits.max_num_seqs is limits.max_num_batched_tokens is None
    assert set(limits.known_from) == {"max_model_len", "block_size", "num_kv_blocks"}


def test_an_engine_of_one_slot_has_nobody_to_count_its_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = calibrated(monkeypatch, CPU, max_num_seqs=1)
    assert (found.limits.max_num_seqs, found.limits.max_num_batched_tokens) == (1, None)
    assert set(by_regime(found.fitted, found.observations)) == {"prefill", "decode"}


def test_what_is_given_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = Wanted("", longest=128, quick=True, max_num_seqs=2, max_num_batched_tokens=64)
    limits = calibrated(monkeypatch, CPU, wanted, max_num_batched_tokens=64).limits
    assert limits.known_from["max_num_seqs"] == "given"
    assert limits.known_from["max_num_batched_tokens"] == "given"


def test_the_same_seed_measures_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law 4, in virtual time."""
    first, second = (calibrated(monkeypatch, CPU) for _ in range(2))
    assert first == second


class _Slows(FakeConnection):
    """Takes ten times as long once it was estimated how long all takes."""

    async def stream(self, call: Call, answer: Answer, timeout_s: float | None = None) -> None:
        if len(self.calls) == 60:
            self.engine.latency = CPU.slower(10)
        await super().stream(call, answer, timeout_s)


def test_an_engine_that_slows_down_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = Wanted("http://fake", longest=64, seconds=100)
    usual, slow = (calibrated(monkeypatch, CPU, wanted, c) for c in (FakeConnection, _Slows))
    assert usual.passes > 1
    assert usual.seconds < wanted.seconds
    assert slow.passes == 1


class _Dies(FakeConnection):
    """Answers some requests, and then none."""

    async def stream(self, call: Call, answer: Answer, timeout_s: float | None = None) -> None:
        if len(self.calls) > 20:
            answer.fail("unreachable", "connection refused")
            answer.over = True
            return
        await super().stream(call, answer, timeout_s)


class _Hangs(FakeConnection):
    """Answers some requests, and is silent then."""

    async def stream(self, call: Call, answer: Answer, timeout_s: float | None = None) -> None:
        if len(self.calls) > 20:
            self.engine.latency = LinearLatency(1e9, 0, 0, 0)
        await super().stream(call, answer, timeout_s)


class _Lumps(FakeConnection):
    """Sends two tokens at a time, as a busy machine does, to its first questions."""

    lumps = 6

    async def stream(self, call: Call, answer: Answer, timeout_s: float | None = None) -> None:
        await super().stream(call, answer, timeout_s)
        if len(self.calls) <= self.lumps:
            answer.times, answer.counts = answer.times[::2], answer.counts[::2]


class _LumpsAlways(_Lumps):
    lumps = 1_000_000


def test_a_machine_that_is_busy_for_a_moment_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = calibrated(monkeypatch, CPU, connect=_Lumps).fitted
    assert found.latency.base == pytest.approx(CPU.base, rel=0.02)


@pytest.mark.parametrize(
    ("connect", "complaint"),
    [
        (_LumpsAlways, "several tokens at a time"),
        (_Dies, "the server failed while it was measured: unreachable: connection refused"),
        (_Hangs, "the server sent no token for 120 s"),
    ],
)
def test_a_server_that_fails_is_an_error(
    monkeypatch: pytest.MonkeyPatch, connect: type[FakeConnection], complaint: str
) -> None:
    with pytest.raises(EngineError, match=complaint):
        calibrated(monkeypatch, CPU, connect=connect)


class _Busy(FakeConnection):
    async def get(self, path: str, _: float = 5.0) -> bytes:
        page = await super().get(path)
        return page.replace(b"} 0.0", b"} 3.0")


class _Twins(FakeConnection):
    async def get(self, path: str, _: float = 5.0) -> bytes:
        page = await super().get(path)
        return page + page.replace(b'engine="0"', b'engine="1"') if path == "/metrics" else page


@pytest.mark.parametrize(
    ("connect", "complaint"),
    [(_Busy, "serves 6 requests just now"), (_Twins, "has 2 engines")],
)
def test_a_server_that_cannot_be_measured_is_refused(
    monkeypatch: pytest.MonkeyPatch, connect: type[FakeConnection], complaint: str
) -> None:
    with pytest.raises(ServerError, match=complaint):
        calibrated(monkeypatch, CPU, connect=connect)


@given(
    st.integers(16, 8000), st.booleans(), st.integers(1, 300), st.integers(64, 8192),
    st.integers(600, 40_000), st.integers(50, 50_000),
)  # fmt: skip
def test_cases_stay_within_what_the_engine_holds(
    longest: int, quick: bool, slots: int, budget: int, length: int, blocks: int
) -> None:
    limits = Limits(slots, budget, 16, blocks, length)
    for case in cases(Scope(min(longest, length // 2), quick), limits):
        assert case.seconds(GPU, budget) > 0
        sequences = getattr(case, "sequences", 1)
        assert sequences <= slots
        if sequences > 1:
            assert case.reach(budget) <= length
            assert sequences * case.reach(budget) <= limits.kv_tokens * 0.8  # type: ignore[operator]


@given(st.integers(32, 4096), st.floats(1, 1000), st.booleans())
def test_prompts_are_shortened_until_a_pass_is_affordable(
    longest: int, seconds: float, quick: bool
) -> None:
    limits = Limits(8, 256, 32, 728, 8192)
    scope, chosen, passes = in_budget(Scope(longest, quick), limits, CPU, seconds)
    cost = sum(case.seconds(CPU, 256) for case in chosen)
    assert passes == 1 or passes * cost <= seconds
    assert scope.longest == longest or cost <= seconds or scope.longest <= 32
