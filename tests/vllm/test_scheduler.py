"""What the scheduler hook does with a plan, and what it tells the planner."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from vllm import PoolingParams
from vllm.v1.core.sched.interface import PauseState
from vllm.v1.request import Request, RequestStatus

from slosched.core.plan import Plan
from slosched.core.protocols import Policy
from slosched.core.snapshot import Snapshot
from slosched.policies.edf import Edf
from slosched.policies.fcfs import Fcfs
from slosched.policies.isrtf import Isrtf
from slosched.policies.priority import Priority
from slosched.policies.sjf import Sjf
from tests.vllm.harness import AtRandom, Engine, Job, Witness, make_planner

both_depths = pytest.mark.parametrize("depth", [1, 2])


@dataclass(frozen=True)
class NewestOnly:
    """Wants nobody but the newest request to run."""

    def plan(self, snapshot: Snapshot) -> Plan:
        newest = np.argsort(-snapshot.live["serial"])
        others = snapshot.running.copy()
        others[newest[0]] = False
        return Plan(newest.astype(np.int64), np.flatnonzero(others))


def finishing_order(
    model: Path, policy: Policy, depth: int, *jobs: Job, slots: int = 1
) -> list[str]:
    lengths = {job.name: job.output for job in jobs}
    engine = Engine(model, make_planner(Witness(policy), lengths), depth=depth, sequences=slots)
    engine.add(*jobs)
    engine.run()
    engine.check_empty()
    assert engine.scheduler._shield.failures == engine.planner.failures == 0
    return engine.finished


@both_depths
def test_edf_admits_by_deadline(tiny_model: Path, depth: int) -> None:
    by_ttft = {name: {"slosched_ttft_ms": ttft} for name, ttft in [("a", 900), ("b", 90), ("c", 9)]}
    jobs = [Job(name, 10, 5, tag=tag) for name, tag in by_ttft.items()]
    assert finishing_order(tiny_model, Edf(), depth, *jobs) == ["c", "b", "a"]


@both_depths
def test_sjf_admits_by_predicted_length(tiny_model: Path, depth: int) -> None:
    jobs = [Job("a", 10, 20), Job("b", 10, 5), Job("c", 10, 12)]
    assert finishing_order(tiny_model, Sjf(), depth, *jobs) == ["b", "c", "a"]


@both_depths
def test_priority_is_lower_first_as_in_vllm(tiny_model: Path, depth: int) -> None:
    jobs = [Job("a", 10, 5, priority=3), Job("b", 10, 5, priority=-1), Job("c", 10, 5)]
    assert finishing_order(tiny_model, Priority(), depth, *jobs) == ["b", "c", "a"]


@both_depths
def test_preempted_request_gives_its_slot_to_the_first_in_the_plan(
    tiny_model: Path, depth: int
) -> None:
    engine = Engine(tiny_model, make_planner(NewestOnly()), depth=depth, sequences=1)
    engine.add(Job("long", 10, 20))
    for _ in range(5):
        engine.step()
    assert len(engine.outputs["long"]) > 0
    engine.add(Job("urgent", 10, 5))
    engine.run()
    assert engine.finished == ["urgent", "long"]
    engine.check_empty()


@both_depths
def test_victim_for_want_of_kv_is_the_last_in_the_plan(tiny_model: Path, depth: int) -> None:
    lengths = {"a": 60, "b": 20}
    engine = Engine(tiny_model, make_planner(Sjf(), lengths), depth=depth, blocks=8)
    engine.add(Job("a", 40, 60))
    engine.step()
    engine.add(Job("b", 40, 20))
    preemptions = dict.fromkeys(lengths, 0)
    while engine.scheduler.has_requests():
        engine.step()
        for request in engine.scheduler.requests.values():
            preemptions[request.request_id] = request.num_preemptions
    engine.run()
    assert preemptions["a"] > 0
    assert preemptions["b"] == 0, "last come, but first in the plan"


@both_depths
def test_served_within_bounded_passes(tiny_model: Path, depth: int) -> None:
    """Law 13: under a guard of 5 passes, at most 5 later arrivals get a slot first.

    The short ones are admitted and finish within one step, and are counted all the same.
    """
    planner = make_planner(Sjf(), {"long": 20}, passes=5)
    engine = Engine(tiny_model, planner, depth=depth, sequences=1)
    engine.add(Job("first", 10, 3), Job("long", 10, 20))
    for i in range(30):
        engine.add(Job(f"short{i}", 10, 1))
    engine.run()
    assert engine.finished.index("long") <= 1 + 5
    engine.check_empty()


@both_depths
def test_progress_is_written_before_each_plan(tiny_model: Path, depth: int) -> None:
    engine = Engine(tiny_model, make_planner(Fcfs()), depth=depth)
    engine.add(Job("one", 100, 10, arrival=0.0))
    rows, seen = engine.planner.table.rows, []
    while "one" in engine.planner.table:
        seen.append(tuple(int(rows[name][0]) for name in ("prefill", "context", "produced")))
        engine.step()
    assert seen[0] == (100, 0, 0)
    assert (36, 64, 0) in seen  # after the first chunk of 64 tokens
    assert (0, 103, 4) in seen
    assert rows["running"][0]


@both_depths
def test_first_token_is_timed(tiny_model: Path, depth: int) -> None:
    engine = Engine(tiny_model, make_planner(Fcfs()), depth=depth)
    engine.add(Job("one", 100, 10))
    while not engine.outputs["one"]:
        assert np.isnan(engine.planner.table.rows["first_token"][0])
        engine.step()
    first = engine.planner.table.rows["first_token"][0]
    assert first == engine.clock.now
    engine.step()
    assert engine.planner.table.rows["first_token"][0] == first


def test_limits_are_the_engines_own(tiny_model: Path) -> None:
    limits = Engine(tiny_model, make_planner(Fcfs()), blocks=40).scheduler._limits
    assert limits.max_num_seqs == 4
    assert (limits.max_num_batched_tokens, limits.block_size, limits.num_kv_blocks) == (64, 16, 40)


def test_a_wall_clock_that_is_set_back_makes_nobody_late(tiny_model: Path) -> None:
    """Law 3: plans have a clock of their own, and take from arrivals only how long ago they are."""
    engine = Engine(tiny_model, make_planner(Fcfs()))
    table = engine.planner.table
    wall = 1000.0
    engine.scheduler.wall_clock = lambda: wall
    engine.clock.now = 50.0
    for name, arrived in (("before", 998.0), ("early", 1003.0)):
        engine.add(Job(name, 10, 10, arrival=arrived))
    wall = 500.0  # set back
    engine.add(Job("after", 10, 10, arrival=499.0))
    arrivals = [table.rows["arrival"][table.row(name)] for name in ("before", "early", "after")]
    assert arrivals == [48.0, 50.0, 49.0]


def test_a_long_prompt_leaves_the_decoding_requests_their_tokens(tiny_model: Path) -> None:
    """As in the rollout, prompts take what decoding leaves of the token budget."""
    engine = Engine(tiny_model, make_planner(Sjf()))
    engine.add(Job("speaks", 4, 20))
    engine.step()
    engine.add(*(Job(f"long{i}", 90, 2) for i in range(3)))  # shorter answers: they rank first
    for said in range(2, 8):
        engine.step()
        assert len(engine.outputs["speaks"]) == said


def test_the_lowest_priority_that_a_client_can_write_is_entered(tiny_model: Path) -> None:
    engine = Engine(tiny_model, make_planner(Fcfs()))
    engine.add(Job("usual", 10, 3))
    engine.add(Job("lowest", 10, 3, priority=-(2**63)))
    assert len(engine.planner.table) == 2
    engine.run()
    assert sorted(engine.finished) == ["lowest", "usual"]
    engine.check_empty()


@pytest.mark.parametrize(
    "tag", [{"slosched_class": "x"}, {"slosched_ttft_ms": "soon"}, {"other": 1}]
)
def test_odd_tag_means_the_default_class(tiny_model: Path, tag: dict[str, object]) -> None:
    engine = Engine(tiny_model, make_planner(Fcfs()))
    engine.add(Job("one", 10, 3, tag=tag))
    assert engine.planner.table.request(0).slo_class == "batch"
    engine.run()
    engine.check_empty()


def test_pooling_request_is_of_the_default_class(tiny_model: Path) -> None:
    engine = Engine(tiny_model, make_planner(Fcfs()))
    engine.scheduler.add_request(Request("pool", [1, 2, 3], None, PoolingParams(task="embed")))
    assert engine.planner.table.request(0).slo_class == "batch"
    engine.abort("pool")
    engine.check_empty()


def test_streaming_session_goes_first_and_leaves_nothing(tiny_model: Path) -> None:
    engine = Engine(tiny_model, make_planner(Sjf()), sequences=1)
    engine.add(Job("a", 10, 3), Job("session", 10, 4, resumable=True))
    engine.step()
    assert [r.request_id for r in engine.scheduler.running] == ["session"]
    assert len(engine.planner.table) == 1
    while not engine.finished:
        engine.step()
    assert engine.scheduler.requests["session"].status == RequestStatus.WAITING_FOR_STREAMING_REQ
    engine.abort("session")
    engine.run()
    assert engine.finished == ["session", "a"]
    engine.check_empty()


@both_depths
def test_reset_of_the_prefix_cache_is_noted(tiny_model: Path, depth: int) -> None:
    engine = Engine(
        tiny_model, make_planner(Witness(AtRandom(np.random.default_rng(5)))), depth=depth
    )
    jobs = [Job(f"job{i}", 20, 12) for i in range(6)]
    engine.add(*jobs)
    for _ in range(4):
        engine.step()
    engine.scheduler.reset_prefix_cache(reset_running_requests=True)
    live = engine.planner.table.live()
    assert not engine.planner.table.rows["running"][live].any()
    engine.run()
    assert sorted(engine.finished) == sorted(job.name for job in jobs)
    engine.check_empty()
    assert engine.planner.failures == 0


def test_paused_engine_preempts_nobody(tiny_model: Path) -> None:
    engine = Engine(tiny_model, make_planner(AtRandom(np.random.default_rng(0), share=1.0)))
    engine.add(Job("one", 10, 20), Job("two", 10, 20))
    engine.step()
    engine.scheduler.set_pause_state(PauseState.PAUSED_NEW)
    engine.add(Job("three", 10, 3))
    engine.step()
    assert {r.request_id for r in engine.scheduler.running} == {"one", "two"}
    engine.scheduler.set_pause_state(PauseState.UNPAUSED)


@both_depths
def test_isrtf_preempts_on_the_real_scheduler(tiny_model: Path, depth: int) -> None:
    jobs = [Job("long", 10, 60), *(Job(f"short{i}", 10, 4) for i in range(3))]
    order = finishing_order(tiny_model, Isrtf(window=2), depth, *jobs)
    assert order[-1] == "long"


@both_depths
def test_steps_are_observed_in_the_latency_models_terms(
    tiny_model: Path, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prefill tokens; then sequences that decode, and the tokens they hold."""
    engine = Engine(tiny_model, make_planner(Fcfs()), depth=depth)
    shapes: list[tuple[int, ...]] = []
    monkeypatch.setattr(
        engine.scheduler._latency, "start", lambda _step, shape, _now: shapes.append(tuple(shape))
    )
    engine.add(Job("one", 100, 4))
    engine.step()
    engine.add(Job("two", 20, 4))
    engine.run()
    assert shapes[:4] == [(64, 0, 0), (36 + 20, 0, 0), (0, 2, 120), (0, 2, 122)]
