"""The queue before many replicas: laws, each assignment's rule, and replicas that come and go."""

import time
from collections.abc import Sequence
from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched.core.fleet import FleetProblem, FleetSolution
from slosched.core.request import Request, TracedRequest
from slosched.core.slo import Slo
from slosched.core.snapshot import EngineLimits
from slosched.core.types import IntArray
from slosched.dispatch import Dispatcher, Reading, Replica
from slosched.dispatch.assignments.assignment import Assignment
from slosched.dispatch.assignments.fewest_outstanding import FewestOutstanding
from slosched.dispatch.assignments.largest_memory import LargestMemory
from slosched.dispatch.assignments.planned import PlannedFleet
from slosched.dispatch.assignments.power_of_two import PowerOfTwo
from slosched.dispatch.assignments.prefix_affinity import PrefixAffinity
from slosched.dispatch.assignments.round_robin import RoundRobin
from slosched.predictors.history import History
from slosched.predictors.oracle import Oracle
from slosched_solvers.fleet import FleetAnneal
from tests.dispatch.fleet import Fleet
from tests.strategies import LATENCY, traces

LIMITS = EngineLimits(4, 256, 16, 400)
PLANNED = PlannedFleet(FleetAnneal(time_budget_ms=None, move_budget=200))
OTHERS: list[Assignment] = [
    FewestOutstanding(), LargestMemory(), PowerOfTwo(), PrefixAffinity(), RoundRobin(),
]  # fmt: skip

ALL: list[Assignment | PlannedFleet] = [PLANNED, *OTHERS]


def dispatcher(
    assignment: Assignment | PlannedFleet = PLANNED,
    slower: tuple[float, ...] = (1.0, 2.0),
    lengths: dict[str, int] | None = None,
) -> Dispatcher:
    predictor = History() if lengths is None else Oracle(lengths=lengths)
    made = Dispatcher(assignment, predictor)
    for i, factor in enumerate(slower):
        made.add_replica(Replica(f"replica {i}", LIMITS, LATENCY.slower(factor)))
    return made


def request(i: int, prompt: int = 20, text: str | None = None) -> Request:
    return Request(f"r{i}", 0.0, prompt, Slo(e2e=10.0), prompt=text)


def planned(queue: Dispatcher, now: float = 0.0) -> None:
    queue.take(queue.job(now).solve())


@given(traces(max_size=15), st.sampled_from([PLANNED, *OTHERS]), st.integers(1, 3))
def test_law_1_everybody_is_served_once(
    trace: list[TracedRequest], assignment: Assignment | PlannedFleet, replicas: int
) -> None:
    queue = dispatcher(assignment, (1.0, 2.0, 0.7)[:replicas])
    fleet = Fleet(queue)
    fleet.run(trace)
    assert sorted(i for i, _ in fleet.sent) == list(range(len(trace)))
    assert fleet.records.finished.all()
    assert queue.waiting == 0
    assert all(not replica.given and replica.free_kv == 6400 for replica in queue.replicas)
    assert all(replica.decoding == replica.context_tokens == 0 for replica in queue.replicas)
    assert not queue.mishaps


def burst(n: int, seed: int) -> list[TracedRequest]:
    """More than two replicas can serve in time, of two kinds."""
    rng = np.random.default_rng(seed)
    return [
        TracedRequest(
            Request(
                f"r{i}", float(rng.uniform(0, 4)), int(rng.integers(10, 200)),
                Slo(ttft=0.5) if rng.random() < 0.5 else Slo(e2e=6.0),
            ),
            int(rng.integers(5, 120)),
        )
        for i in range(n)
    ]  # fmt: skip


def test_a_plan_keeps_more_slos_than_any_other_assignment() -> None:
    share: dict[str, float] = {}
    for assignment in ALL:
        kept = []
        for seed in range(3):
            trace = burst(80, seed)
            lengths = {t.request.request_id: t.output_tokens for t in trace}
            fleet = Fleet(dispatcher(assignment, (1.0, 2.0, 1.0, 3.0), lengths))
            fleet.run(trace)
            kept.append(fleet.records.attained.mean())
        share[assignment.kind] = float(np.mean(kept))
    best = max(value for kind, value in share.items() if kind != "planned")
    assert share["planned"] > best + 0.1, share


def test_nobody_is_bound_before_there_is_room() -> None:
    queue = dispatcher(slower=(1.0, 1.0))
    for i in range(20):
        queue.submit(request(i))
    planned(queue)
    assert len(queue.release()) == 8
    assert not queue.release()
    assert queue.waiting == 12
    assert [len(replica.given) for replica in queue.replicas] == [4, 4]
    done = next(iter(queue.replicas[0].given))
    queue.on_token(done, 1, 1.0)
    queue.on_complete(done, 1, 1.0)
    [binding] = queue.release()
    assert binding.replica.name == "replica 0"


def test_who_comes_when_there_is_room_does_not_wait_for_a_plan() -> None:
    queue = dispatcher()
    queue.submit(request(0))
    [binding] = queue.release()
    assert binding.request_id == "r0"


def test_who_hangs_up_in_the_queue_is_not_sent() -> None:
    queue = dispatcher()
    for i in range(12):
        queue.submit(request(i))
    planned(queue)
    for i in range(11):
        queue.on_end(f"r{i}")
    assert [binding.request_id for binding in queue.release()] == ["r11"]
    queue.on_end("never seen")


def test_the_plan_says_when() -> None:
    queue = dispatcher()
    for i in range(12):
        queue.submit(request(i))
    assert queue.outlook("r0") is None
    planned(queue, 100.0)
    expected = [queue.outlook(f"r{i}") for i in range(12)]
    assert all(said and 100.0 < said[0] < said[1] < inf for said in expected)
    assert {one.replica for one in queue.snapshot(0.0).waiting} == {"replica 0", "replica 1"}


def test_a_replica_that_drains_gets_nobody_and_one_that_comes_back_does() -> None:
    queue = dispatcher()
    for i in range(20):
        queue.submit(request(i))
    planned(queue)
    queue.on_replica_change("replica 0", "draining")
    assert {binding.replica.name for binding in queue.release()} == {"replica 1"}
    planned(queue)
    queue.on_replica_change("replica 0", "ready")
    assert queue.wants_plan
    planned(queue)
    assert {binding.replica.name for binding in queue.release()} == {"replica 0"}


def test_a_replica_is_forgotten_once_it_is_empty() -> None:
    queue = dispatcher()
    queue.submit(request(0))
    [binding] = queue.release()
    with pytest.raises(ValueError, match="drain it first"):
        queue.remove_replica(binding.replica.name)
    queue.on_end("r0")
    queue.remove_replica(binding.replica.name)
    assert len(queue.replicas) == 1
    with pytest.raises(ValueError, match="there already"):
        queue.add_replica(queue.replicas[0])


@pytest.mark.parametrize("assignment", [PLANNED, *OTHERS])
def test_who_was_lost_before_its_answer_goes_elsewhere_once(
    assignment: Assignment | PlannedFleet,
) -> None:
    queue = dispatcher(assignment)
    queue.submit(request(0))
    [first] = queue.release()
    assert queue.put_back("r0")
    assert not first.replica.given
    [second] = queue.release()
    assert second.replica is not first.replica
    assert not queue.put_back("r0")
    queue.on_token("r0", 1, 1.0)
    assert not queue.put_back("r0")
    assert not queue.put_back("nobody")


def test_who_was_lost_waits_where_there_is_only_one() -> None:
    queue = dispatcher(slower=(1.0,))
    queue.submit(request(0))
    queue.release()
    assert queue.put_back("r0")
    planned(queue)
    assert not queue.release()
    queue.add_replica(Replica("new", LIMITS, LATENCY))
    planned(queue)
    assert [binding.replica.name for binding in queue.release()] == ["new"]


def test_without_any_replica_all_wait() -> None:
    for assignment in ALL:
        queue = dispatcher(assignment, slower=())
        queue.submit(request(0))
        assert not queue.release()
        assert not queue.wants_plan
        with pytest.raises(ValueError, match="a plan needs"):
            queue.job(0.0)


def test_a_rehearsal_leaves_nothing_behind() -> None:
    for assignment in ALL:
        queue = dispatcher(assignment)
        queue.warm_up()
        assert queue.waiting == 0
        assert not queue.mishaps
        assert all(not replica.given for replica in queue.replicas)


def test_a_rehearsal_goes_on_until_nothing_compiles_any_more() -> None:
    """Kernels of the search's last part compile when its first part leaves time for it."""

    class Compiling:
        kind = "compiling"

        def __init__(self) -> None:
            self.solved, self.asked = 0, 0

        def solve(self, problem: FleetProblem) -> FleetSolution:
            self.solved += 1
            if self.solved < 3:
                time.sleep(1.1)
            return FleetAnneal(time_budget_ms=None, move_budget=5).solve(problem)

        def added(self, *_: object) -> float:
            self.asked += 1
            return 0.0

        def price(self, problem: FleetProblem, queues: Sequence[IntArray]) -> FleetSolution:
            return FleetAnneal().price(problem, queues)

    solver = Compiling()
    dispatcher(PlannedFleet(solver)).warm_up()
    assert solver.solved == 3
    assert solver.asked


def test_a_solver_that_fails_leaves_the_plan_before() -> None:
    """Law 14."""

    class Broken:
        def solve(self, problem: object) -> object:
            raise RuntimeError(f"no plan for {problem}")

    queue = dispatcher(PlannedFleet(Broken()))  # type: ignore[arg-type]
    for i in range(9):
        queue.submit(request(i))
    planned(queue)
    assert [mishap.event for mishap in queue.mishaps] == ["plan_failed"]
    assert len(queue.release()) == 8


def test_how_fast_a_replica_is_is_learnt_from_its_tokens() -> None:
    queue = dispatcher(slower=(1.0,))
    queue.submit(request(0))
    queue.release()
    step = LATENCY.step(0, 1, 20)
    for token in range(1, 400):
        queue.on_token("r0", token, token * 1.7 * step)
    [replica] = queue.replicas
    assert 1.6 < replica.slower < 1.8
    assert replica.engine().latency.base == pytest.approx(LATENCY.base * replica.slower)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["token", "end", "back"])), max_size=60)
)
def test_a_replica_knows_how_much_it_decodes(said: list[tuple[int, str]]) -> None:
    queue = dispatcher(slower=(1.0, 1.0))
    for i in range(6):
        queue.submit(request(i, 10 + i))
    queue.release()
    tokens = dict.fromkeys(range(6), 0)
    for now, (i, what) in enumerate(said):
        if what == "token" and i in tokens and queue._lives[f"r{i}"].replica:
            tokens[i] += 1
            queue.on_token(f"r{i}", tokens[i], float(now))
        elif what == "end":
            tokens.pop(i, None)
            queue.on_end(f"r{i}")
        elif what == "back":
            queue.put_back(f"r{i}")
            queue.release()
    for replica in queue.replicas:
        there = [i for i, n in tokens.items() if n and queue._lives[f"r{i}"].replica is replica]
        assert replica.decoding == len(there)
        assert replica.context_tokens == sum(9 + i + tokens[i] for i in there)


def test_fewest_outstanding_and_round_robin_and_memory() -> None:
    one, two = (Replica(name, LIMITS, LATENCY) for name in ("one", "two"))
    one.give("a", 50)
    two.give("b", 20)
    two.give("c", 20)
    assert FewestOutstanding().choose(request(0), [one, two]) is one
    assert LargestMemory().choose(request(0), [one, two]) is two
    turn = RoundRobin()
    assert [turn.choose(request(0), [one, two]) for _ in range(3)] == [one, two, one]


def test_prefixes_stay_together_as_long_as_nobody_has_too_many() -> None:
    replicas = [Replica(str(i), LIMITS, LATENCY) for i in range(4)]
    chooser = PrefixAffinity(characters=10)
    texts = [f"{i:010d} and what follows {j}" for i in range(50) for j in range(3)]
    chosen = [chooser.choose(request(0, text=text), replicas) for text in texts]
    assert all(len(set(chosen[i : i + 3])) == 1 for i in range(0, 150, 3))
    assert {replica.name for replica in chosen} == {"0", "1", "2", "3"}
    favourite = chosen[0]
    for i in range(20):
        favourite.give(f"x{i}", 1)
    assert chooser.choose(request(0, text=texts[0]), replicas) is not favourite
    for wrong in ({"characters": 0}, {"most": 1.0}):
        with pytest.raises(ValueError, match="must be"):
            PrefixAffinity(**wrong)  # type: ignore[arg-type]


def test_who_is_held_goes_nowhere_before_it_is_let_in() -> None:
    for assignment in ALL:
        queue = dispatcher(assignment)
        queue.submit(request(0), held=True)
        queue.submit(request(1))
        assert [binding.request_id for binding in queue.release()] == ["r1"]
        if queue.wants_plan:
            planned(queue)
        assert not queue.release()
        queue.admit("r0")
        assert [binding.request_id for binding in queue.release()] == ["r0"]
        queue.admit("nobody")


def test_a_class_of_which_nothing_is_known_is_tried() -> None:
    """Taken to be late by a wrong guess, it would be refused for ever."""
    queue = dispatcher()
    hopeless = Slo(e2e=0.001)
    for i in range(3):
        queue.submit(Request(f"r{i}", 0.0, 20, hopeless, "new"), held=True)
    assert [queue.admission(f"r{i}", 0.0) is None for i in range(3)] == [False] * 3
    queue.on_end("r2")
    assert queue.admission("r0", 0.0) is None
    queue.on_end("r1")
    for i in range(64):
        queue.submit(Request(f"s{i}", 0.0, 20, hopeless, "new"))
        queue.release()
        queue.on_complete(f"s{i}", 5, 1.0)
    job = queue.admission("r0", 0.0)
    assert job is not None
    assert not job.admits()


def test_steps_that_compute_prompts_do_not_make_a_replica_slow() -> None:
    """Two thirds of them, as in a burst, take ten times as long."""
    queue = dispatcher(slower=(1.0,))
    queue.submit(request(0))
    queue.release()
    step, now = LATENCY.step(0, 1, 20), 0.0
    for token in range(1, 600):
        now += step * (1.3 if token % 24 == 0 else 13.0)
        queue.on_token("r0", token, now)
    assert 1.25 < queue.replicas[0].slower < 1.35


def test_the_mean_step_of_a_whole_answer_says_nothing_of_how_fast_a_replica_is() -> None:
    """Who hears of ends alone sees steps that compute others' prompts in it, too."""
    queue = dispatcher(slower=(1.0,))
    for i in range(40):
        queue.submit(request(i))
        queue.release()
        queue.on_token(f"r{i}", 1, 10.0 * i)
        queue.on_token(f"r{i}", 16, 10.0 * i + 9.0)
        queue.on_complete(f"r{i}", 16, 10.0 * i + 9.0)
    assert queue.replicas[0].slower == 1.0


def test_a_replica_whose_slots_are_taken_is_full() -> None:
    queue = dispatcher(slower=(1.0, 1.0))
    one, two = queue.replicas
    for i in range(8):
        queue.submit(request(i))
    queue.release()
    assert (one.full, two.full) == (True, True)
    queue.on_end(next(iter(one.given)))
    assert (one.full, two.full) == (False, True)
    queue.on_reading(one.name, Reading(running=9, waiting=0, kv_used=0.1))
    queue.on_reading(one.name, Reading(running=9, waiting=0, kv_used=0.1))
    assert one.full
    queue.on_replica_change(one.name, "away")
    assert not one.full
    assert [replica.number for replica in queue.replicas] == [0, 1]


def test_plans_know_who_is_where_as_requests_come_and_go() -> None:
    """Law 1 of the table of places: as each request's own replica has it."""
    queue = dispatcher(slower=(1.0, 1.0, 1.0))
    rng = np.random.default_rng(0)
    for i in range(300):
        queue.submit(request(i))
        queue.release()
        if i % 3:
            queue.on_end(f"r{rng.integers(i + 1)}")
        if i % 7 == 0:
            queue.put_back(f"r{rng.integers(i + 1)}")
        if i % 50 == 0:
            queue.add_replica(Replica(f"more {i}", LIMITS, LATENCY))
        job = queue.job(0.0)
        for row, at in zip(job.rows.tolist(), job.problem.snapshot.bound.tolist(), strict=True):
            life = queue._lives[queue._lives.table.request(row).request_id]
            assert life.replica is (None if at < 0 else job.replicas[at])


def test_what_a_plan_says_of_a_request_is_not_said_of_the_next_in_its_row() -> None:
    queue = dispatcher(slower=(1.0,))
    for i in range(9):
        queue.submit(request(i))
    planned(queue)
    assert queue.outlook("r8") is not None
    queue.on_end("r8")
    assert queue.outlook("r8") is None
    queue.submit(request(100))
    assert queue.outlook("r100") is None
    for i in range(200, 300):
        queue.submit(request(i))
    assert queue.outlook("r299") is None
    assert queue.drained_at(0.0) > 0.0
