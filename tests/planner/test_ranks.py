"""Ranks: whoever the plan knows by place, everybody else by a rule."""

from math import inf

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from slosched import Plan, Snapshot
from slosched.core.live import LiveTable
from slosched.core.snapshot import UNRANKED
from slosched.core.types import IntArray
from slosched.planner.in_force import InForce
from slosched.planner.ranks import BEHIND, FRONT, PLANNED, PROMOTED, newcomer_rank
from tests.planner.parts import LIMITS, Newest, job_of, request
from tests.strategies import LATENCY


@st.composite
def changes(draw: st.DrawFn) -> tuple[LiveTable, list[str]]:
    """A table, and whom it held when a job was made of it; everything may happen after."""
    table = LiveTable()
    n = draw(st.integers(1, 10))
    for i in range(n):
        row = table.add(request(i))
        if draw(st.booleans()):
            table.admit(row)
    return table, [f"r{i}" for i in range(n)]


@given(changes(), st.data())
def test_a_plan_reaches_nobody_but_those_it_is_about(
    before: tuple[LiveTable, list[str]], data: st.DataObject
) -> None:
    """A row may have been given to another request, and who ran may wait, by the time it comes."""
    table, known = before
    job = job_of(table, Newest())
    running = np.flatnonzero(job.snapshot.running)
    order = np.array(data.draw(st.permutations(range(len(known)))))
    victims = [i for i in running if data.draw(st.booleans())]
    promoted = np.array(data.draw(st.lists(st.sampled_from(range(len(known))), unique=True)))
    plan = Plan(order, np.array(victims, dtype=np.int64)).promote(promoted.astype(np.int64))

    for name in known:  # meanwhile
        row = table.row(name)
        match data.draw(st.integers(0, 3)):
            case 0:
                table.remove(name)
            case 1 if table.rows["running"][row]:
                table.preempt(row, 10)
    newcomers = [f"r{100 + i}" for i in range(data.draw(st.integers(0, 6)))]
    for name in newcomers:
        row = table.add(request(int(name[1:])))
        if data.draw(st.booleans()):
            table.admit(row)

    in_force = InForce(table)
    in_force.put(job, plan, promoted.astype(np.int64), 0.0)
    preempt = in_force.decide(LIMITS).preempt
    place = {f"r{i}": int(np.flatnonzero(plan.order == i)[0]) for i in range(len(known))}
    for name in known:
        if name in table:
            rank = table.rows["rank"][table.row(name)]
            mine = int(name[1:])
            if mine in promoted:
                assert rank == PROMOTED + list(promoted).index(mine)
            else:
                assert rank == PLANNED + place[name]
    assert all(table.rows["rank"][table.row(name)] == UNRANKED for name in newcomers)
    asked = {f"r{i}" for i in plan.preempt if f"r{i}" in table}
    still_run = {name for name in asked if table.rows["running"][table.row(name)]}
    assert {table.request(int(row)).request_id for row in preempt} == still_run


def newcomers(*slos: dict[str, float], length: float = 20.0) -> Snapshot:
    table = LiveTable()
    for i, slo in enumerate(slos):
        row = table.add(request(i, **slo), length)
        table.rows[row]["arrival"] = 0.0
    return table.snapshot(0.0, LIMITS, LATENCY)[0]


def ranks_of(newcomers: Snapshot, wait: float) -> IntArray:
    ranks = [newcomer_rank(live, newcomers.now, LIMITS, LATENCY, wait) for live in newcomers.live]
    return np.array(ranks)


def test_who_is_in_haste_goes_in_front_and_all_else_behind() -> None:
    """A prompt of 10 tokens takes 31 ms: it has to begin within the first token's limit less."""
    at_once, soon, late = {"ttft": 0.05}, {"ttft": 5.0}, {"ttft": 0.01}
    rank = ranks_of(newcomers(soon, at_once, late, {}, at_once), wait=0.1)
    band = np.where(rank < PLANNED, FRONT, BEHIND)
    assert list(band) == [BEHIND, FRONT, BEHIND, BEHIND, FRONT]
    assert list(rank - band) == [0, 1, 2, 3, 4]  # among themselves by arrival
    assert (rank > PROMOTED + 2**32).all()
    assert (rank < UNRANKED).all()


limits = st.one_of(st.just(inf), st.floats(0.001, 10))


@given(
    st.lists(st.fixed_dictionaries({"ttft": limits, "e2e": limits}), min_size=1, max_size=8),
    st.floats(0.5, 300),
    st.floats(0, 5),
)
def test_haste_is_a_matter_of_slack(
    slos: list[dict[str, float]], length: float, wait: float
) -> None:
    new = newcomers(*slos, length=length)
    clear = (np.abs(new.slack) > 1e-9) & (np.abs(new.slack - wait) > 1e-9)  # of rounding
    in_haste = (new.slack >= 0) & (new.slack <= wait)
    np.testing.assert_array_equal((ranks_of(new, wait) < PLANNED)[clear], in_haste[clear])


@given(st.floats(0, 1e9))
def test_without_a_limit_nobody_is_in_haste(wait: float) -> None:
    assert ranks_of(newcomers({}), wait)[0] >= BEHIND
