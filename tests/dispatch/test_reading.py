"""What replicas say of themselves: room that others take, and how much KV there is."""

import pytest

from slosched.core.snapshot import EngineLimits
from slosched.dispatch import Reading, Replica
from tests.strategies import LATENCY


def replica(*, reads_kv: bool = False) -> Replica:
    return Replica("one", EngineLimits(4, 256, 16, 100), LATENCY, reads_kv=reads_kv)


def test_slots_and_kv_of_others_are_not_given_away() -> None:
    engine = replica()
    engine.give("mine", 100)
    for _ in range(2):
        engine.said(Reading(3, 0, 0.75))
    assert engine.others.requests == 2
    assert engine.free_kv == 1600 - 100 - engine.others.kv_tokens
    assert engine.others.kv_tokens == pytest.approx(0.75 * 1600 * 2 / 3, abs=1)
    limits = engine.engine().limits
    assert (limits.max_num_seqs, limits.kv_tokens) == (2, 1600 - 800)
    assert engine.has_room(100)
    engine.give("more", 100)
    assert not engine.has_room(100)


def test_who_is_just_coming_or_going_is_nobody_elses() -> None:
    engine = replica()
    engine.give("mine", 100)
    engine.said(Reading(1, 0, 0.1))
    engine.take("mine")
    engine.said(Reading(1, 0, 0.1))  # it is not gone from there yet
    assert engine.others.requests == 0
    engine.said(Reading(1, 0, 0.1))
    assert engine.others.requests == 1


def test_others_may_fill_it_and_one_still_can_begin() -> None:
    engine = replica()
    for _ in range(2):
        engine.said(Reading(9, 5, 1.0))
    assert not engine.has_room(1)
    limits = engine.engine().limits
    assert (limits.max_num_seqs, limits.num_kv_blocks) == (1, 1)


@pytest.mark.parametrize(("reads_kv", "expected"), [(True, 3200), (False, 1600)])
def test_its_kv_is_as_large_as_it_says_unless_that_is_configured(
    *, reads_kv: bool, expected: int
) -> None:
    engine = replica(reads_kv=reads_kv)
    engine.said(Reading(0, 0, 0.0, 3210))
    assert engine.limits.kv_tokens == expected


def test_another_engine_in_its_place_is_learnt_anew() -> None:
    engine = replica()
    for _ in range(40):
        engine.saw_step(5 * LATENCY.step(0, 1, 20), 1, 20)
        engine.said(Reading(3, 0, 0.5))
    assert engine.slower == pytest.approx(5)
    engine.forget()
    assert (engine.slower, engine.others.requests, engine.reading) == (1.0, 0, None)
