"""Law 18: never more than the rate allows, in any window; and no less; and what is kept of keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched_server.rates import Allowance, Limits, Meter, Meters
from slosched_server.refusals import AccessError

asked = st.lists(
    st.tuples(st.floats(0, 100), st.integers(1, 40)), min_size=1, max_size=60
)  # seconds since the one before, and units


@given(per_minute=st.integers(1, 10_000), burst=st.integers(1, 50), asked=asked)
def test_in_any_window_no_more_is_taken_than_burst_and_rate_allow(
    per_minute: int, burst: int, asked: list[tuple[float, int]]
) -> None:
    allowance, now = Allowance(per_minute, burst), 1e5
    taken = []
    for after, units in asked:
        now += after
        if not allowance.wait_s(units, now):
            allowance.take(units, now)
            taken.append((now, units))
    for i, (begin, _) in enumerate(taken):
        for j in range(i, len(taken)):
            most = burst + (taken[j][0] - begin + 1e-5) * per_minute / 60
            assert sum(units for _, units in taken[i : j + 1]) <= most


@given(per_minute=st.integers(1, 10_000), burst=st.integers(1, 50), asked=asked)
def test_whoever_waits_as_told_gets_it_and_not_before(
    per_minute: int, burst: int, asked: list[tuple[float, int]]
) -> None:
    allowance, now = Allowance(per_minute, burst), 1e5
    for after, units in asked:
        now += after
        wait = allowance.wait_s(units, now)
        if units > burst:
            assert wait == float("inf")
            continue
        assert (units <= allowance.left(now)) == (wait == 0)
        if wait > 1e-3:
            assert allowance.wait_s(units, now + wait * 0.9)
        now += wait
        assert allowance.wait_s(units, now) == 0
        allowance.take(units, now)
    assert allowance.left(now + allowance.refill_s(now)) == burst


class Clock:
    now = 1e5

    def __call__(self) -> float:
        return self.now


def test_a_refusal_says_what_is_left_and_when_there_is_more() -> None:
    clock = Clock()
    meter = Meter(Limits(requests=30, tokens=600, burst=2), clock)
    meter.take("requests", 1)
    meter.take("tokens", 100)
    assert dict(meter.headers()) == {
        b"x-ratelimit-limit-requests": b"30",
        b"x-ratelimit-remaining-requests": b"1",
        b"x-ratelimit-reset-requests": b"2s",
        b"x-ratelimit-limit-tokens": b"600",
        b"x-ratelimit-remaining-tokens": b"500",
        b"x-ratelimit-reset-tokens": b"10s",
    }
    meter.take("requests", 1)
    clock.now += 0.5
    with pytest.raises(AccessError, match="30 requests a minute") as caught:
        meter.take("requests", 1)
    headers = dict(caught.value.headers)
    assert headers[b"retry-after"] == b"2"
    assert headers[b"x-ratelimit-reset-requests"] == b"3.5s"
    clock.now += 1.5
    meter.take("requests", 1)


def test_what_fits_into_no_minute_is_not_to_be_tried_again() -> None:
    meter = Meter(Limits(tokens=100))
    with pytest.raises(AccessError, match=r"101 tokens.* 100 at once") as caught:
        meter.take("tokens", 101)
    assert caught.value.headers == ((b"x-should-retry", b"false"),)
    meter.take("tokens", 100)  # it cost nothing


@pytest.mark.parametrize(
    ("requests", "seconds", "shown"),
    [(60_000, 0.0, b"1ms"), (1, 0.0, b"1m0s"), (1, 0.5, b"59.5s"), (1, 60.0, b"0ms")],
)
def test_times_are_written_as_openai_does(requests: int, seconds: float, shown: bytes) -> None:
    clock = Clock()
    meter = Meter(Limits(requests), clock)
    meter.take("requests", 1)
    clock.now += seconds
    assert dict(meter.headers())[b"x-ratelimit-reset-requests"] == shown


def test_an_edit_of_the_file_lets_unchanged_keys_go_on_counting() -> None:
    meters = Meters()
    first = meters.renew({b"a": Limits(1), b"b": Limits(1), b"c": Limits(1)})
    second = meters.renew({b"a": Limits(1), b"b": Limits(2), b"d": Limits(1)})
    assert second[b"a"] is first[b"a"]
    assert second[b"b"] is not first[b"b"]
    assert second.keys() == {b"a", b"b", b"d"}
