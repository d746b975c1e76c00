"""The predictor beside an engine: it answers at once, better later, and nothing stops it."""

from collections.abc import Sequence
from threading import Event
from time import sleep

import numpy as np
import pytest

from slosched import Request, Slo
from slosched.core.transcript import Said
from slosched.predictors.background import _FAILURES, _WAITING, Background
from slosched.predictors.calibration import LEVELS
from slosched.predictors.history import History
from slosched.predictors.learned import Reader, View
from slosched.predictors.outlook import likely
from slosched.predictors.sketch import BINS
from tests.predictors.parts import until

NOTHING = np.array([0])


class FakeModel:
    usual = np.full(BINS, 1 / BINS)


class FakeReader:
    """Says of each request as many tokens as its prompt has characters."""

    rereads = True
    model = FakeModel()

    def __init__(self) -> None:
        self.read: list[str] = []
        self.batches: list[int] = []
        self.released = Event()
        self.released.set()
        self.fails = 0

    def views(self, requests: Sequence[Request], said: Sequence[Said]) -> list[View]:
        assert self.released.wait(30)
        self.batches.append(len(said))
        if self.fails:
            self.fails -= 1
            raise RuntimeError("no view today")
        self.read += [request.request_id for request in requests]
        tokens = np.array([[len(one.prompt)] * len(LEVELS) for one in said], dtype=float)
        shares = likely(tokens)
        return [View(one.produced, row) for one, row in zip(said, shares, strict=True)]


class Texts:
    def __init__(self, prompt: str) -> None:
        self.prompt, self.over = prompt, False

    def read(self, produced: int) -> Said | None:
        return None if self.over else Said(self.prompt, "x" * produced, produced)


def request(name: str, length: int = 400) -> Request:
    return Request(name, 0.0, 10, Slo(e2e=9.0), transcript=Texts("p" * length))


def beside(reader: FakeReader, **options: float) -> Background:
    return Background(lambda: reader, History(prior_tokens=100), 50.0, **options)  # type: ignore[arg-type, return-value]


def test_the_first_answer_is_experience_and_the_next_one_is_read() -> None:
    predictor, one = beside(FakeReader()), request("one")
    first = predictor.remaining([one], NOTHING)
    np.testing.assert_allclose(first, History(prior_tokens=100).remaining([one], NOTHING))
    until(lambda: predictor.improved() == ["one"])
    assert 350 < predictor.remaining([one], NOTHING).mean() < 450
    assert len(predictor.take_seconds()) == 1
    predictor.close()


def test_who_waits_longest_is_read_last_and_too_many_are_not_read_at_all() -> None:
    reader = FakeReader()
    reader.released.clear()
    predictor = beside(reader, batch_ms=1e6)
    predictor.remaining([request("first")], NOTHING)
    until(lambda: not predictor._waiting)
    crowd = [request(f"r{i}") for i in range(_WAITING + 50)]
    predictor.remaining(crowd, np.zeros(len(crowd), dtype=np.int64))
    reader.released.set()
    until(lambda: len(reader.read) == _WAITING + 1)
    expected = [f"r{i}" for i in reversed(range(50, _WAITING + 50))]
    assert reader.read == ["first", *expected]
    predictor.close()


def test_as_an_answer_grows_it_is_read_again_now_and_then() -> None:
    reader = FakeReader()
    predictor, one = beside(reader, every=50), request("one")
    for produced in (0, 10, 49, 50, 80, 100):
        predictor.remaining([one], np.array([produced]))
        until(lambda: not predictor._waiting)
        until(lambda: len(predictor._views) == 1)
        sleep(0.02)
    assert len(reader.read) == 3
    predictor.close()


def test_who_is_over_is_not_read() -> None:
    reader = FakeReader()
    predictor, one, other = beside(reader), request("one"), request("other")
    one.transcript.over = True  # type: ignore[union-attr]
    predictor.remaining([one, other], np.zeros(2, dtype=np.int64))
    until(lambda: reader.read == ["other"])
    predictor.observe(other, 30)
    assert not predictor._views
    predictor.close()


def test_a_model_that_cannot_be_loaded_leaves_experience() -> None:
    def load() -> Reader:
        raise OSError("no such disk")

    predictor = Background(load, History(prior_tokens=100), 50.0)
    assert 50 < predictor.remaining([request("one")], NOTHING).mean() < 150
    until(lambda: predictor._closed)
    assert [str(error) for error in predictor.take_errors()] == ["no such disk"]
    assert 50 < predictor.remaining([request("two")], NOTHING).mean() < 150
    assert not predictor._waiting or predictor._closed


@pytest.mark.parametrize("failures", [3, _FAILURES])
def test_a_reader_that_fails_is_tried_again_and_in_the_end_left_alone(failures: int) -> None:
    reader = FakeReader()
    reader.fails = failures
    predictor = beside(reader)
    for i in range(failures + 1):
        predictor.remaining([request(f"r{i}")], NOTHING)
        until(lambda: not predictor._waiting)
        until(lambda i=i: len(reader.batches) == min(i + 1, failures + (failures < _FAILURES)))  # type: ignore[misc]
    until(lambda: bool(reader.read) or predictor._closed)
    assert bool(reader.read) == (failures < _FAILURES)
    assert 1 <= len(predictor.take_errors()) <= failures
    predictor.close()
