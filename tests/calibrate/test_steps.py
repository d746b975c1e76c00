"""Steps as they show in the times of tokens."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched import LinearLatency
from slosched.calibrate import steps
from slosched.calibrate.fit import Fitted
from slosched.calibrate.observation import Observation, Regime
from slosched.calibrate.steps import Stream

MODEL = LinearLatency(0.03, 1e-4, 1e-3, 2e-6)


def lockstep(prompts: list[int], lengths: list[int]) -> list[Stream]:
    """Streams that get a token in each step from the first on, for as long as each lasts."""
    clock, times = 1.0, [[1.0] for _ in prompts]
    for step in range(1, max(lengths)):
        alive = [i for i, length in enumerate(lengths) if step < length]
        context = sum(prompts[i] + step - 1 for i in alive)
        clock += MODEL.step(0, len(alive), context)
        for i in alive:
            times[i].append(clock)
    return [
        Stream(prompt, 0.0, np.array(t), np.arange(1, len(t) + 1))
        for prompt, t in zip(prompts, times, strict=True)
    ]


def check(found: list[Observation]) -> None:
    """Each takes exactly what the model says, so that what was computed is right."""
    modelled = Fitted(MODEL, 0.0).seconds(found)
    np.testing.assert_allclose([o.seconds for o in found], modelled, rtol=1e-9)


lengths = st.lists(st.integers(1, 90), min_size=1, max_size=6)


@given(lengths, st.integers(1, 2000))
def test_stretches_of_decoding_are_what_the_engine_did(ends: list[int], prompt: int) -> None:
    found = steps.decode(lockstep([prompt + i for i in range(len(ends))], ends), "c")
    check(found)
    for o in found:
        assert o.regime is Regime.decode
        assert o.steps == steps.BLOCK
        assert o.what == f"{round(o.sequences / o.steps)} x c"
        assert o.sequences % o.steps == 0  # nobody came or went


def test_every_width_shows_if_it_lasts_long_enough() -> None:
    found = steps.decode(lockstep([50] * 4, [21, 21, 41, 61]), "c")
    assert [o.sequences / o.steps for o in found] == [4, 4, 2, 2, 1, 1]


@given(st.integers(0, 1000))
def test_noise_on_the_way_does_not_change_who_took_part(seed: int) -> None:
    rng = np.random.default_rng(seed)
    exact = lockstep([50] * 4, [21, 21, 41, 61])
    noisy = [
        Stream(s.prompt, s.sent, np.sort(s.times + rng.uniform(0, 0.01, len(s.times))), s.counts)
        for s in exact
    ]
    found = steps.decode(noisy, "c")
    assert {o.what for o in found} == {"4 x c", "2 x c", "1 x c"}
    for o in found:
        assert (o.steps, f"{o.sequences / o.steps:g} x c") == (steps.BLOCK, o.what)


@given(lengths.filter(lambda ends: max(ends) > 30), st.integers(0, 99))
def test_pieces_of_several_tokens_are_as_many_steps(ends: list[int], seed: int) -> None:
    """The witness lost some of its pieces to the next one: nothing is counted twice or lost."""
    rng = np.random.default_rng(seed)
    streams = lockstep([64] * len(ends), ends)
    keep = rng.random(len(streams[-1].times)) < 0.7
    keep[[0, -1]] = True
    longest = max(range(len(ends)), key=ends.__getitem__)
    s = streams[longest]
    keep = np.resize(keep, len(s.times))
    keep[[0, -1]] = True
    streams[longest] = Stream(s.prompt, s.sent, s.times[keep], s.counts[keep])
    for o in steps.decode(streams, "c"):
        if o.sequences == o.steps:  # alone, so that everybody's steps are known exactly
            check([o])


@pytest.mark.parametrize(("most", "expected"), [(None, 1), (256, 3), (600, 1), (599, 2)])
def test_a_prompt_alone_takes_as_many_steps_as_it_has_chunks(
    most: int | None, expected: int
) -> None:
    stream = Stream(600, 2.0, np.array([3.5]), np.array([1]))
    o = steps.prefill(stream, most)
    assert (o.steps, o.prefill, o.sequences, o.requests) == (expected, 600, 0, 1)
    assert o.seconds == 1.5


def visited(prompt: int, chunk: int) -> tuple[list[Stream], Stream]:
    """Two streams of 40 tokens, and a prompt that comes within their tenth step."""
    clock, times, first = 1.0, [1.0], 0.0
    sent, left = 0.0, prompt
    for step in range(1, 40):
        joins = min(left, chunk) if step > 10 else 0
        if step == 10:
            sent = clock + 0.001
        clock += MODEL.step(joins, 2, 2 * (50 + step - 1))
        times.append(clock)
        left -= joins
        if joins and not left:
            first = clock
    streams = [Stream(50, 0.0, np.array(times), np.arange(1, 41)) for _ in range(2)]
    return streams, Stream(prompt, sent, np.array([first + 0.0004]), np.array([1]))


@pytest.mark.parametrize(("prompt", "chunks"), [(400, 1), (500, 1), (501, 2), (1700, 4)])
def test_a_visit_is_measured_by_the_streams_beside_it(prompt: int, chunks: int) -> None:
    streams, newcomer = visited(prompt, 500)
    o = steps.mixed(streams, newcomer, "visit", 502)
    assert o is not None
    assert (o.steps, o.prefill, o.regime) == (chunks + 1, prompt, Regime.mixed)
    assert o.prompt_steps == chunks
    check([o])
    assert steps.tokens_with(streams[0], newcomer) == 11 + chunks


def test_a_visit_that_nobody_saw_is_none() -> None:
    streams, _ = visited(400, 500)
    late = Stream(400, 99.0, np.array([100.0]), np.array([1]))
    assert steps.mixed(streams, late, "visit", 500) is None


def test_a_burst_ends_with_the_last_first_token() -> None:
    """Three prompts of 100 in one step each: the first decodes twice, the second once."""
    model = MODEL
    t1 = model.step(100, 0, 0)
    t2 = t1 + model.step(100, 1, 100)
    t3 = t2 + model.step(100, 2, 101 + 100)
    streams = [
        Stream(100, 0.0, np.array([t1, t2, t3]), np.array([1, 2, 3])),
        Stream(100, 0.0, np.array([t2, t3]), np.array([1, 2])),
        Stream(100, 0.0, np.array([t3]), np.array([1])),
    ]
    o = steps.burst(streams, "3", 100)
    assert (o.steps, o.prefill, o.sequences, o.context) == (3, 300, 3, 301)
    check([o])
