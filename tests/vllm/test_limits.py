"""A plan may lower vLLM's limits for a step, never so far that those who run are held up."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slosched.core.plan import Plan, nobody
from slosched.core.snapshot import Snapshot
from slosched.planner import Decision
from slosched.vllm.limits import ceilings
from tests.vllm.harness import Engine, Job, make_planner

both_depths = pytest.mark.parametrize("depth", [1, 2])
LIMITS = ("max_num_running_reqs", "max_num_active_reqs", "max_num_scheduled_tokens")


@dataclass
class Lowered:
    """First come, first served, under limits that a test may change between steps."""

    sequences: int | None = None
    tokens: int | None = None

    def plan(self, snapshot: Snapshot) -> Plan:
        return Plan(
            np.arange(len(snapshot)),
            max_num_seqs=self.sequences,
            max_num_batched_tokens=self.tokens,
        )


def start(model: Path, policy: Lowered, depth: int = 1, **options: Any) -> Engine:
    return Engine(model, make_planner(policy), depth=depth, **options)


@both_depths
def test_nobody_is_admitted_while_as_many_run_as_the_plan_allows(
    tiny_model: Path, depth: int
) -> None:
    engine = start(tiny_model, Lowered(sequences=2), depth)
    came = [Job(f"job{i}", 10, 6) for i in range(8)]
    engine.add(*came)
    most = 0
    while engine.scheduler.has_requests():
        engine.step()
        most = max(most, len(engine.scheduler.running))
    engine.run()
    assert most == 2
    assert engine.finished == [job.name for job in came]
    engine.check_empty()
    assert not engine.caught


@both_depths
def test_who_runs_already_keeps_its_slot(tiny_model: Path, depth: int) -> None:
    policy = Lowered()
    engine = start(tiny_model, policy, depth)
    engine.add(*(Job(f"early{i}", 4, 12) for i in range(4)))
    for _ in range(3):
        engine.step()
    policy.sequences = 1
    engine.add(Job("late", 4, 3))
    while "late" not in {r.request_id for r in engine.scheduler.running}:
        engine.step()
    assert len(engine.finished) == 4
    engine.run()
    engine.check_empty()
    assert not engine.caught


@both_depths
def test_prompts_take_what_decoding_leaves_of_the_plans_budget(
    tiny_model: Path, depth: int
) -> None:
    policy = Lowered(tokens=8)
    engine = start(tiny_model, policy, depth)
    engine.add(Job("speaks", 4, 30))
    for _ in range(2):
        engine.step()
    engine.add(Job("long", 40, 2))
    row = engine.planner.table.row("long")
    computed = []
    for _ in range(4):
        engine.step()
        computed.append(int(engine.planner.table.rows["context"][row]))
    assert computed == [7, 14, 21, 28]
    engine.run()
    engine.check_empty()
    assert not engine.caught


@both_depths
def test_decoding_requests_get_their_tokens_under_any_budget(tiny_model: Path, depth: int) -> None:
    policy = Lowered()
    engine = start(tiny_model, policy, depth)
    engine.add(*(Job(f"job{i}", 4, 20) for i in range(4)))
    for _ in range(3):
        engine.step()
    policy.tokens = 1
    engine.add(Job("waits", 4, 2))
    said = {name: len(tokens) for name, tokens in engine.outputs.items()}
    for _ in range(5):
        engine.step()
    assert all(len(engine.outputs[name]) == said[name] + 5 for name in said if name != "waits")
    engine.run()
    engine.check_empty()
    assert not engine.caught


@both_depths
def test_a_small_budget_holds_up_no_prompt_for_nobody(tiny_model: Path, depth: int) -> None:
    """Where nobody decodes there is nobody to protect: the engine's own budget holds."""
    engine = start(tiny_model, Lowered(tokens=1), depth)
    engine.add(Job("alone", 60, 3))
    engine.step()
    assert engine.scheduler.running[0].num_computed_tokens == 60
    engine.run()
    engine.check_empty()


def test_prompts_that_must_not_be_cut_keep_the_engines_budget(tiny_model: Path) -> None:
    scheduler = start(tiny_model, Lowered()).scheduler
    decision = Decision(nobody(), max_num_seqs=4, max_num_batched_tokens=8)
    assert ceilings(scheduler, decision, running=1, decoding=1) == {"max_num_scheduled_tokens": 8}
    scheduler.need_mamba_block_aligned_split = True
    assert not ceilings(scheduler, decision, running=1, decoding=1)


def test_idle_streaming_sessions_do_not_use_up_the_plans_slots(tiny_model: Path) -> None:
    engine = start(tiny_model, Lowered(sequences=1))
    engine.add(Job("session", 10, 4, resumable=True))
    while not engine.finished:
        engine.step()
    engine.add(Job("one", 10, 3))
    for _ in range(5):
        engine.step()
    assert "one" in engine.finished
    engine.abort("session")
    engine.run()
    engine.check_empty()


@both_depths
def test_limits_are_the_engines_own_again_after_each_step(
    tiny_model: Path, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = start(tiny_model, Lowered(sequences=1, tokens=2), depth)
    own = [getattr(engine.scheduler, name) for name in LIMITS]
    engine.add(*(Job(f"job{i}", 10, 6) for i in range(4)))
    seen = []

    def noting(*_: object, **__: object) -> bool:
        seen.append([getattr(engine.scheduler, name) for name in LIMITS])
        raise RuntimeError("in the middle of vLLM's step")

    for _ in range(3):
        engine.step()
        assert [getattr(engine.scheduler, name) for name in LIMITS] == own
    monkeypatch.setattr(engine.scheduler.kv_cache_manager, "new_step_starts", noting)
    with pytest.raises(RuntimeError, match="in the middle"):
        engine.scheduler.schedule()
    assert seen == [[4, 1, 2]]
    assert [getattr(engine.scheduler, name) for name in LIMITS] == own
