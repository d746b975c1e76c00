"""Nothing is lost, whatever is planned: laws 1, 2, 10 and 14 on the real scheduler class."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vllm.v1.core.sched.output import SchedulerOutput

from slosched.core.plan import nobody
from slosched.core.request import Request
from slosched.planner import Decision, Planner
from slosched.vllm.scheduler import SloScheduler
from tests.vllm.harness import AtRandom, Engine, Job, Witness, make_planner

jobs = st.builds(
    Job,
    name=st.uuids().map(str),
    prompt=st.integers(1, 100),
    output=st.integers(1, 24),
    max_tokens=st.integers(1, 27),
)
# What happens before each step: who comes, and which of those that came is given up.
turns = st.lists(
    st.tuples(st.lists(jobs, max_size=4), st.none() | st.integers(0, 100)), min_size=1, max_size=12
)
law = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def serve(engine: Engine, script: Sequence[tuple[list[Job], int | None]]) -> list[Job]:
    """Play the turns, then run until empty; return all jobs that came."""
    came: list[Job] = []
    for arrivals, given_up in script:
        engine.add(*arrivals)
        came.extend(arrivals)
        if given_up is not None and came:
            engine.abort(came[given_up % len(came)].name)
        engine.step()
    engine.run()
    return came


def check(engine: Engine, came: Sequence[Job]) -> None:
    """Each job came to exactly one end, and said what the script says up to there."""
    assert sorted([*engine.finished, *engine.aborted]) == sorted(job.name for job in came)
    for job in came:
        said = engine.outputs[job.name]
        assert said == job.expected[: len(said)]
        assert job.name in engine.aborted or said == job.expected
    engine.check_empty()


class Obeyed(Planner):
    """Remembers what it decided."""

    newest: Decision

    def plan(self, *args: object) -> Decision:
        self.newest = super().plan(*args)  # type: ignore[arg-type]
        return self.newest


class Watched(SloScheduler):
    """Checks that vLLM kept to what was decided, as far as those who run let it."""

    _planner: Obeyed

    def schedule(self, *args: object, **kwargs: object) -> SchedulerOutput:
        decoding = {r.request_id for r in self.running if not r.is_prefill_chunk}
        output = super().schedule(*args, **kwargs)
        decision, admitted = self._planner.newest, len(output.scheduled_new_reqs)
        admitted += len(output.scheduled_cached_reqs.resumed_req_ids)
        assert not admitted or len(self.running) <= decision.max_num_seqs
        table = self._planner.table
        decoding -= {table.request(row).request_id for row in decision.preempt.tolist()}
        if decoding:
            most = max(decision.max_num_batched_tokens, len(decoding))
            assert output.total_num_scheduled_tokens <= most
        return output


@pytest.mark.parametrize("depth", [1, 2])
@given(script=turns, seed=st.integers(0, 2**32), blocks=st.sampled_from([10, 16, 64]))
@law
def test_random_plans_lose_nothing(
    tiny_model: Path, depth: int, script: list[tuple[list[Job], int | None]], seed: int, blocks: int
) -> None:
    """Laws 1, 2 and 10: random orders, preemptions, limits and aborts change no token."""
    planner = make_planner(Witness(AtRandom(np.random.default_rng(seed))))
    planner.__class__ = Obeyed
    engine = Engine(tiny_model, planner, depth=depth, blocks=blocks, scheduler_cls=Watched)
    check(engine, serve(engine, script))
    assert not engine.caught
    assert engine.planner.failures == 0


class Unreliable(Planner):
    """Raises now and then, wherever the scheduler calls it."""

    rng = np.random.default_rng(0)

    def _maybe(self) -> None:
        if self.rng.random() < 0.2:
            raise RuntimeError("unreliable")

    def add(self, request: Request) -> int:
        self._maybe()
        row = super().add(request)
        self._maybe()
        return row

    def remove(self, request_id: str) -> None:
        super().remove(request_id)
        self._maybe()

    def plan(self, *args: object) -> Decision:
        self._maybe()
        return super().plan(*args)  # type: ignore[arg-type]


@pytest.mark.parametrize("depth", [1, 2])
@given(script=turns, seed=st.integers(0, 2**32))
@law
def test_unreliable_planner_stops_nothing(
    tiny_model: Path, depth: int, script: list[tuple[list[Job], int | None]], seed: int
) -> None:
    """Law 14: a planner that raises at any moment costs its plans, and no request."""
    planner = make_planner(AtRandom(np.random.default_rng(seed)))
    planner.__class__ = Unreliable
    engine = Engine(tiny_model, planner, depth=depth, blocks=16)
    check(engine, serve(engine, script))


@pytest.mark.parametrize("depth", [1, 2])
def test_without_a_cure_for_planning_first_come_is_served_first(
    tiny_model: Path, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law 14: without a plan, vLLM's own order holds."""

    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    planner = make_planner(AtRandom(np.random.default_rng(0)))
    monkeypatch.setattr(planner, "plan", broken)
    engine = Engine(tiny_model, planner, depth=depth, sequences=1)
    came = [Job(f"job{i}", 10, 3) for i in range(6)]
    engine.add(*came)
    engine.run()
    assert engine.finished == [job.name for job in came]
    check(engine, came)
    assert engine.scheduler._shield.failures > 6


GARBAGE = (
    None,
    "rows",
    np.array([0]),
    Decision([0], 4, 64),  # type: ignore[arg-type]
    Decision(np.array([10**6]), 4, 64),
    Decision(np.array([0.5]), 4, 64),  # type: ignore[arg-type]
    Decision(np.array([-3]), 4, 64),
    Decision(np.array([0, 1, 2]), 4, 64),
    Decision(nobody(), None, 64),  # type: ignore[arg-type]
    Decision(nobody(), 4, "all"),  # type: ignore[arg-type]
)


@pytest.mark.parametrize("garbage", GARBAGE, ids=repr)
def test_garbage_instead_of_a_plan_stops_nothing(
    tiny_model: Path, garbage: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law 14: what is no plan is not applied, not even in part."""
    planner = make_planner(AtRandom(np.random.default_rng(0)))
    monkeypatch.setattr(planner, "plan", lambda *_: garbage)
    engine = Engine(tiny_model, planner, sequences=2)
    preempted: list[object] = []
    monkeypatch.setattr(engine.scheduler, "_preempt_request", lambda *args: preempted.append(args))
    came = [Job(f"job{i}", 10, 3) for i in range(6)]
    check(engine, serve(engine, [(came, None)]))
    assert not preempted
    assert engine.scheduler._shield.failures > 0


def test_errors_are_logged_once(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law 14: each kind of failure leaves one traceback, however often it happens."""
    logged: list[str] = []
    monkeypatch.setattr(
        "slosched.vllm.shield.log.warning", lambda _text, doing, **_: logged.append(doing)
    )
    planner = make_planner(AtRandom(np.random.default_rng(0)))
    monkeypatch.setattr(planner, "plan", lambda *_: None)
    engine = Engine(tiny_model, planner)
    engine.add(Job("one", 10, 20), Job("two", 10, 20))
    engine.run()
    assert logged == ["planning"]
