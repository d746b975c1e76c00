"""Which requests a schedule is drawn of."""

from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slosched import EngineLimits, TracedRequest
from slosched.core.errors import SloschedError
from slosched.policies.sjf import Sjf
from slosched.report import window as module
from slosched.report.window import choose
from tests.report.made import LIMITS, drawn, requests, simulated
from tests.strategies import engine_limits, traces


@settings(max_examples=80)
@given(traces(), engine_limits(), st.floats(0, 1), st.one_of(st.none(), st.floats(0.01, 20)))
def test_every_request_of_the_window_is_in_it_once(
    trace: list[TracedRequest], limits: EngineLimits, part: float, length: float | None
) -> None:
    """Whoever arrives, begins or ends an answer in the window; nobody else; by arrival."""
    run = requests(simulated(trace, Sjf(), limits))
    assert run.arrival is not None
    last = float(np.nanmax([run.arrival, run.arrival + run.e2e]))
    window = choose(run, part * last, length)
    touched, through = [], 0
    for row in range(len(run)):
        times = run.arrival[row], run.arrival[row] + run.ttft[row], run.arrival[row] + run.e2e[row]
        if any(window.begin <= time <= window.end for time in times):
            touched.append(row)
        elif times[0] < window.begin and times[2] > window.end:
            through += 1
    assert sorted(window.rows.tolist()) == touched
    assert (np.diff(run.arrival[window.rows]) >= 0).all()
    assert window.through == through
    assert window.left_out == 0


@given(traces(), engine_limits())
@settings(max_examples=40)
def test_a_small_run_is_shown_whole(trace: list[TracedRequest], limits: EngineLimits) -> None:
    run = requests(simulated(trace, Sjf(), limits))
    window = choose(run)
    assert sorted(window.rows.tolist()) == list(range(len(run)))
    assert (window.begin, window.through) == (0.0, 0)


def test_it_is_readable_and_where_most_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    run = requests(simulated(drawn(2.0, 120), Sjf(), LIMITS))
    assert run.arrival is not None
    monkeypatch.setattr(module, "READABLE", 40)
    window = choose(run)
    assert window.chosen
    assert len(window.rows) <= 40
    length = window.end - window.begin
    missed = run.arrival[~run.met]
    found = ((missed >= window.begin) & (missed < window.end)).sum()
    for begin in run.arrival:
        # Begins are rounded down to a twentieth of the length.
        assert ((missed >= begin) & (missed < begin + 0.95 * length)).sum() <= found


def test_what_does_not_fit_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    run = requests(simulated(drawn(2.0, 60), Sjf(), LIMITS))
    monkeypatch.setattr(module, "MOST", 10)
    window = choose(run, 0.0, 1e4)
    assert len(window.rows) == 10
    assert window.left_out == 50


@pytest.mark.parametrize("begin", [-1.0, 1e9, np.nan])
def test_a_begin_outside_the_run_is_refused(begin: float) -> None:
    run = requests(simulated(drawn(2.0, 10), Sjf(), LIMITS))
    with pytest.raises(SloschedError, match="--from must be from 0 to"):
        choose(run, begin)


@pytest.mark.parametrize("length", [0.0, -3.0, inf, np.nan])
def test_a_length_that_is_none_is_refused(length: float) -> None:
    run = requests(simulated(drawn(2.0, 10), Sjf(), LIMITS))
    with pytest.raises(SloschedError, match="--for must be greater than 0"):
        choose(run, None, length)
