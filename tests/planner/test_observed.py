"""The latency model learns the engine's real costs from its steps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched.core.latency import LinearLatency, fit
from slosched.planner.fitting import fit as compiled_fit
from slosched.planner.observed import ObservedLatency, StepShape

TRUTH = LinearLatency(2e-2, 1e-4, 5e-4, 2e-6)
GUESS = LinearLatency(1e-3, 1e-5, 1e-5, 1e-7)


def shapes(count: int, prefill: float = 0.3) -> list[StepShape]:
    rng = np.random.default_rng(0)
    return [
        StepShape(
            int(rng.integers(1, 512)) if rng.random() < prefill else 0,
            n := int(rng.integers(1, 32)),
            n * int(rng.integers(10, 500)),
        )
        for _ in range(count)
    ]


def observe(observed: ObservedLatency, steps: list[StepShape], depth: int = 1) -> None:
    """Run steps back to back; at depth 2 each is handed over while the one before still runs."""
    now, waiting = observed._last_finish if observed._last_finish > 0 else 0.0, []
    for shape in steps:
        observed.start(shape, shape, now)
        waiting.append(shape)
        if len(waiting) == depth:
            done = waiting.pop(0)
            now += TRUTH.step(*done)
            observed.finish(done, now)


def error(model: LinearLatency) -> float:
    return max(abs(model.step(*s) / TRUTH.step(*s) - 1) for s in shapes(50))


@pytest.mark.parametrize("depth", [1, 2])
def test_finds_the_truth(depth: int) -> None:
    observed = ObservedLatency(GUESS)
    observe(observed, shapes(200), depth)
    assert error(observed.model) < 1e-6


def test_keeps_the_given_model_until_it_has_seen_enough() -> None:
    observed = ObservedLatency(GUESS)
    observe(observed, shapes(63))
    assert observed.model == GUESS


def test_idle_time_is_no_part_of_a_step() -> None:
    observed = ObservedLatency(GUESS)
    now = 0.0
    for shape in shapes(200):
        observed.start(shape, shape, now)
        now += TRUTH.step(*shape)
        observed.finish(shape, now)
        now += 100.0
    assert error(observed.model) < 1e-6


def test_compilations_do_not_count() -> None:
    observed = ObservedLatency(GUESS)
    now = 0.0
    for i, shape in enumerate(shapes(256)):
        observed.start(shape, shape, now)
        now += TRUTH.step(*shape) * (500.0 if i % 40 == 0 else 1.0)
        observed.finish(shape, now)
    assert error(observed.model) < 1e-6


def test_long_decoding_does_not_forget_what_prefill_costs() -> None:
    observed = ObservedLatency(GUESS)
    observe(observed, shapes(128))
    observe(observed, shapes(2000, prefill=0.0))
    assert observed.model.per_prefill_token == pytest.approx(TRUTH.per_prefill_token, rel=1e-3)


def test_what_was_never_seen_keeps_its_given_cost() -> None:
    observed = ObservedLatency(GUESS)
    observe(observed, shapes(128, prefill=0.0))
    assert observed.model.per_prefill_token == GUESS.per_prefill_token
    assert observed.model.base == pytest.approx(TRUTH.base, rel=1e-3)


def test_lost_and_unknown_steps_do_not_count() -> None:
    observed = ObservedLatency(GUESS)
    shape = StepShape(0, 1, 10)
    observed.start("lost", shape, 0.0)
    observed.start("known", shape, 1.0)
    observed.finish("known", 2.0)
    observed.finish("unknown", 3.0)
    assert not observed._in_flight
    assert observed.seen.tolist() == [1, 0]
    assert observed.kept[0, 0].tolist() == [*shape, 1.0]


@given(
    seed=st.integers(0, 2**32),
    kinds=st.lists(st.sampled_from(["prefill", "sequences", "context"]), unique=True, max_size=3),
)
def test_the_compiled_fit_is_the_plain_one(seed: int, kinds: list[str]) -> None:
    """Where steps tell every cost."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(1, 500, (64, 3)) * [1.0, 0.1, 30.0]
    truth = LinearLatency(
        1e-2,
        1e-4 * ("prefill" in kinds),
        5e-4 * ("sequences" in kinds),
        2e-6 * ("context" in kinds),
    )
    seconds = truth.step(*steps.T)
    plain = fit(steps, np.asarray(seconds))
    observed = np.column_stack((steps, seconds))
    compiled = LinearLatency(*compiled_fit(observed, np.array([1e-2, 1e-4, 5e-4, 2e-6])).tolist())
    assert compiled.step(*steps.T) == pytest.approx(plain.step(*steps.T), rel=1e-6)
    assert compiled.step(*steps.T) == pytest.approx(seconds, rel=1e-6)


@pytest.mark.parametrize("spread", [0.1, 0.3])
def test_noise_is_averaged_out(spread: float) -> None:
    observed, rng, now = ObservedLatency(GUESS), np.random.default_rng(0), 0.0
    for shape in shapes(1024):
        observed.start(shape, shape, now)
        now += TRUTH.step(*shape) * rng.lognormal(-(spread**2) / 2, spread)
        observed.finish(shape, now)
    assert error(observed.model) < spread


@pytest.mark.parametrize("spread", [0.0, 0.1, 0.3])
def test_a_full_batch_says_nothing_of_a_smaller_one(spread: float) -> None:
    """Else a plan that keeps slots empty would, after a while, reckon with what it never saw."""
    observed, rng, now = ObservedLatency(TRUTH), np.random.default_rng(0), 0.0
    for i in range(2048):
        sequences = 32 - (rng.random() < 0.1)
        shape = StepShape(0, sequences, sequences * (200 + i % 50))
        observed.start(i, shape, now)
        now += 1.5 * TRUTH.step(*shape) * rng.lognormal(-(spread**2) / 2, spread)
        observed.finish(i, now)
    alike, half = StepShape(0, 32, 6400), StepShape(0, 16, 3200)
    assert observed.model.step(*alike) == pytest.approx(1.5 * TRUTH.step(*alike), rel=0.1)
    assert observed.model.step(*half) == pytest.approx(1.5 * TRUTH.step(*half), rel=0.15)


def test_who_was_believed_to_cost_nothing_may_be_found_out() -> None:
    observed = ObservedLatency(LinearLatency(1e-2, 0.0, 0.0, 0.0))
    observe(observed, shapes(256))
    assert error(observed.model) < 1e-5
