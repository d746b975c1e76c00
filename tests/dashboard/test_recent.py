"""What the page remembers: laws of counts and windows, and what each outcome counts for."""

from math import inf, isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched.core.slo import Slo
from slosched.core.tags import Tag
from slosched_server.dashboard.recent import Recent, Tally, attained, counted
from slosched_server.progress import Outcome, Progress
from slosched_server.sizes import Size
from slosched_server.upstream import Job


def job(
    arrival: float = 0.0, slo_class: str = "chat", *, outcome: Outcome = "finished",
    ttft: float | None = None, limits: Slo | None = None, replica: str = "",
) -> Job:  # fmt: skip
    progress = Progress(arrival, ttft is not None, outcome=outcome, replica=replica)
    if ttft is not None:
        progress.first = progress.last = arrival + ttft
        progress.events = 3
    slo = limits or Slo(ttft=1.0, e2e=10.0)
    return Job(Tag(slo_class, slo), Size(20), progress, lambda _: b"")


@given(
    st.lists(st.tuples(st.floats(0, 9), st.sampled_from("abc"), st.booleans()), max_size=60),
    st.integers(1, 40),
    st.floats(0, 400),
)
def test_what_is_remembered_is_the_newest_and_counts_are_of_all(
    ends: list[tuple[float, str, bool]], size: int, moment: float
) -> None:
    recent, now = Recent(size), 0.0
    times = []
    for pause, slo_class, late in ends:
        now += pause
        recent.end(job(now - (20.0 if late else 1.0), slo_class), now)
        times.append(now)
    kept = times[-size:]
    rows = recent.since(moment)
    assert rows["end"].tolist() == [time for time in kept if time >= moment]
    assert sum(tally.counted for tally in recent.totals.values()) == len(ends)
    met = sum(tally.attained for tally in recent.totals.values())
    assert met == sum(not late for _, _, late in ends)
    everything = recent.since(-inf)
    assert attained(everything).sum() == sum(not late for _, _, late in ends[-size:])
    reach = recent.reaches(now)
    assert reach == (inf if len(ends) <= size else pytest.approx(now - kept[0]))


@given(st.lists(st.floats(0, 30), max_size=40), st.floats(0, 400))
def test_the_history_adds_up_to_what_ended_in_it(pauses: list[float], later: float) -> None:
    recent, times = Recent(), np.cumsum(pauses).tolist()
    for time in times:
        recent.end(job(time), time)
    now = (times[-1] if times else 0.0) + later
    bins = recent.history("chat", now)
    assert len(bins) == 30
    oldest = (now // 10 - 29) * 10
    assert sum(one.counted for one in bins if one) == sum(time >= oldest for time in times)


@pytest.mark.parametrize(
    ("outcome", "late", "expected"),
    [
        ("finished", False, (1, 1)),
        ("finished", True, (1, 0)),
        ("failed", False, (1, 0)),
        ("shed", False, (1, 0)),
        ("rejected", False, (0, 0)),
        ("cancelled", False, (0, 0)),
        ("cancelled", True, (1, 0)),
    ],
)
def test_what_an_outcome_counts_for(
    outcome: Outcome, late: bool, expected: tuple[int, int]
) -> None:
    recent = Recent()
    recent.end(job(outcome=outcome), 11.0 if late else 1.0)
    tally = recent.totals.get("chat", Tally())
    assert (tally.counted, tally.attained) == expected
    rows = recent.since(0.0)
    assert (int(counted(rows).sum()), int(attained(rows).sum())) == expected


def test_a_row_says_what_came_of_a_request() -> None:
    recent = Recent()
    asked = job(5.0, "chat", ttft=2.0, replica="gpu-a")
    asked.progress.queued = 1.5
    recent.begin(asked, {})
    assert list(recent.underway) == [asked]
    recent.end(asked, 9.0)
    assert not list(recent.underway)
    [row] = recent.since(0.0)
    names = recent.names
    assert (names[row["slo_class"]], names[row["replica"]]) == ("chat", "gpu-a")
    assert (row["arrival"], row["sent"], row["first"], row["end"]) == (5.0, 6.5, 7.0, 9.0)
    assert (row["input_tokens"], row["tokens"], row["broken"]) == (20, 3, 0b001)
    assert row["e2e"] == 10.0
    unknown = job()
    recent.end(unknown, 9.5)
    assert isnan(recent.since(9.2)["first"][0])
