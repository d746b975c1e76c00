"""`noisy_classes`: as often wrong as it says, and no better informed."""

from math import isclose
from random import Random

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from slosched import Request, Slo
from slosched.core.types import FloatArray
from slosched.predictors.noisy_classes import CLASSES, CUTS, NoisyClasses

share = st.integers(0, 1000).map(lambda thousandths: thousandths / 1000)
shares = st.tuples(share, share).map(sorted)
answers = st.lists(st.integers(1, 900), min_size=1, max_size=40)


def request(request_id: str) -> Request:
    return Request(request_id, 0.0, 10, Slo())


def classes(lengths: list[int]) -> list[int]:
    return [sum(length >= cut for cut in CUTS) for length in lengths]


def named(lengths: list[int]) -> dict[str, int]:
    return {f"r{i}": length for i, length in enumerate(lengths)}


def answer(predictor: NoisyClasses, request_id: str, produced: int) -> FloatArray:
    (left,) = predictor.remaining([request(request_id)], np.array([produced]))
    return np.asarray(left)


def test_it_is_wrong_as_often_as_was_published() -> None:
    """arXiv 2404.08509: 60.0% exact, 93.1% within one class."""
    rng = np.random.default_rng(2)
    lengths = named([int(x) for x in rng.lognormal(5, 1.2, 8000)])
    predictor = NoisyClasses(lengths=lengths)
    off = np.abs(
        [
            predictor.guess(name) - truth
            for name, truth in zip(lengths, classes(list(lengths.values())), strict=True)
        ]
    )
    assert np.mean(off == 0) == pytest.approx(0.6, abs=0.02)
    assert np.mean(off <= 1) == pytest.approx(0.931, abs=0.01)
    assert off.max() > 2


@given(shares)
def test_every_class_is_guessed_to_be_something(pair: list[float]) -> None:
    exact, within_one = pair
    table = NoisyClasses(exact=exact, within_one=within_one).confusion
    np.testing.assert_allclose(table.sum(axis=1), 1)
    assert (table >= 0).all()
    for truth in range(CLASSES):
        assert isclose(table[truth, truth], exact)
        assert isclose(table[truth, max(truth - 1, 0) : truth + 2].sum(), within_one)


def thirds(pairs: list[tuple[float, float]]) -> list[float]:
    """Deal lengths out by their weights, the shortest first; the mean of each third."""
    third = sum(weight for _, weight in pairs) / 3
    means, pairs = [], list(reversed(pairs))
    for _ in range(3):
        room, tokens = third, 0.0
        while pairs and room > 1e-12 * third:
            length, weight = pairs.pop()
            dealt = min(weight, room)
            tokens, room = tokens + dealt * length, room - dealt
            if weight > dealt:
                pairs.append((length, weight - dealt))
        means.append(tokens / (third - room))
    return means


@given(answers, shares, st.data())
def test_what_is_left_are_thirds_of_the_trace_weighted_by_the_guess(
    lengths: list[int], pair: list[float], data: st.DataObject
) -> None:
    predictor = NoisyClasses(exact=pair[0], within_one=pair[1], lengths=named(lengths))
    produced = data.draw(st.integers(0, max(lengths) - 1))
    guess = predictor.guess("r0")
    weights = np.array([predictor.confusion[k, guess] for k in classes(lengths)])
    tokens = np.array(lengths)
    longer = tokens > produced
    if weights[longer].sum() <= 1e-6 * weights.sum():  # outgrown: any longer one
        weights = np.ones(len(lengths))
    pairs = sorted(zip(tokens[longer].tolist(), weights[longer].tolist(), strict=True))
    expected = np.array(thirds(pairs)) - produced
    np.testing.assert_allclose(answer(predictor, "r0", produced), np.maximum(expected, 1))


@given(answers, st.randoms(use_true_random=False), st.integers(0, 2**31))
def test_it_knows_no_more_of_a_request_than_its_class(
    lengths: list[int], random: Random, seed: int
) -> None:
    """Law 5, as far as an oracle can keep it: lengths may change places within a class."""
    shuffled = list(lengths)
    for k in range(CLASSES):
        members = [i for i, c in enumerate(classes(lengths)) if c == k]
        for i, j in zip(members, random.sample(members, len(members)), strict=True):
            shuffled[i] = lengths[j]
    one = NoisyClasses(seed=seed, lengths=named(lengths))
    other = NoisyClasses(seed=seed, lengths=named(shuffled))
    for name in named(lengths):
        np.testing.assert_array_equal(answer(one, name, 3), answer(other, name, 3))


@given(answers, st.randoms(use_true_random=False))
def test_a_guess_depends_on_the_request_alone(lengths: list[int], random: Random) -> None:
    """Law 4: not on who else is asked of, nor in which order."""
    predictor = NoisyClasses(lengths=named(lengths))
    names = list(named(lengths))
    random.shuffle(names)
    produced = np.array([random.randrange(500) for _ in names])
    together = predictor.remaining([request(name) for name in names], produced)
    for name, out, left in zip(names, produced, together, strict=True):
        np.testing.assert_array_equal(left, answer(predictor, name, int(out)))


def test_other_seeds_guess_otherwise() -> None:
    lengths = named([100] * 50)
    guesses = [
        [NoisyClasses(seed=seed, lengths=lengths).guess(name) for name in lengths]
        for seed in range(2)
    ]
    assert guesses[0] != guesses[1]


def test_who_has_outgrown_its_class_belongs_to_the_next_ones() -> None:
    predictor = NoisyClasses(exact=1, within_one=1, lengths=named([10, 20, 30, 100, 700]))
    np.testing.assert_allclose(answer(predictor, "r0", 0), [10, 20, 30])
    np.testing.assert_allclose(answer(predictor, "r0", 50), [50, 350, 650])
    np.testing.assert_allclose(answer(predictor, "r0", 700), [1, 1, 1])


@given(shares)
def test_shares_that_cannot_be_are_refused(pair: list[float]) -> None:
    within_one, exact = pair
    assume(within_one < exact)
    with pytest.raises(ValueError, match="exact must be from 0 to within_one"):
        NoisyClasses(exact=exact, within_one=within_one)
    with pytest.raises(ValueError, match="within_one must be at most 1"):
        NoisyClasses(within_one=1 + exact)


def test_a_request_that_is_not_in_the_trace_is_an_error() -> None:
    with pytest.raises(KeyError):
        answer(NoisyClasses(lengths={"a": 1}), "b", 0)
