"""What the prefix cache holds of a prompt needs no prefill, and plans know it."""

from pathlib import Path
from typing import Any

import pytest

from slosched.policies.fcfs import Fcfs
from slosched.vllm.prefix import cached_tokens
from tests.vllm.harness import BLOCK, Engine, Job, Witness, make_planner

both_depths = pytest.mark.parametrize("depth", [1, 2])


def row(engine: Engine, name: str) -> Any:
    return engine.planner.table.rows[engine.planner.table.row(name)]


def test_a_newcomer_knows_what_of_its_prompt_is_cached(tiny_model: Path) -> None:
    engine = Engine(tiny_model, make_planner(Witness(Fcfs())))
    engine.add(Job("first", 60, 3))
    engine.run()
    engine.add(
        Job("same", 60, 3, begins_like="first"),
        Job("longer", 100, 3, begins_like="first"),
        Job("other", 60, 3),
    )
    known = {name: row(engine, name) for name in ("same", "longer", "other")}
    assert {name: int(live["context"]) for name, live in known.items()} == {
        "same": 3 * BLOCK,
        "longer": 3 * BLOCK,
        "other": 0,
    }
    assert {name: int(live["prefill"]) for name, live in known.items()} == {
        "same": 60 - 3 * BLOCK,
        "longer": 100 - 3 * BLOCK,
        "other": 60,
    }
    engine.run()
    engine.check_empty()
    assert not engine.caught


@both_depths
def test_what_was_said_of_the_cache_comes_true(tiny_model: Path, depth: int) -> None:
    engine = Engine(tiny_model, make_planner(Witness(Fcfs())), depth=depth)
    engine.add(Job("first", 60, 3))
    engine.run()
    engine.add(Job("same", 60, 3, begins_like="first"))
    told = int(row(engine, "same")["prefill"])
    tokens = engine.scheduler.schedule().num_scheduled_tokens["same"]
    assert tokens == told == 60 - 3 * BLOCK


def test_a_whole_prompt_in_the_cache_leaves_a_step_to_take(tiny_model: Path) -> None:
    engine = Engine(tiny_model, make_planner(Witness(Fcfs())))
    engine.add(Job("first", 4 * BLOCK, 3))
    engine.run()
    engine.add(Job("same", 4 * BLOCK, 3, begins_like="first"))
    assert row(engine, "same")["prefill"] == BLOCK
    engine.run()
    engine.check_empty()


@both_depths
def test_a_preempted_request_finds_its_own_blocks(tiny_model: Path, depth: int) -> None:
    """Until others overwrite them, a preemption costs no more than the last block's tokens."""
    engine = Engine(tiny_model, make_planner(Fcfs()), depth=depth)
    engine.add(Job("long", 50, 60))
    for _ in range(6):
        engine.step()
    [request] = engine.scheduler.running
    engine.scheduler._preempt([request])
    live = row(engine, "long")
    assert live["context"] == 3 * BLOCK
    assert live["prefill"] == request.num_tokens - 3 * BLOCK
    assert not live["running"]
    engine.run()
    assert engine.finished == ["long"]
    engine.check_empty()
    assert not engine.caught


def test_an_emptied_cache_is_noted(tiny_model: Path) -> None:
    engine = Engine(tiny_model, make_planner(Fcfs()))
    engine.add(Job("first", 60, 3))
    engine.run()
    engine.add(Job("same", 60, 3, begins_like="first"))
    assert row(engine, "same")["context"] == 3 * BLOCK
    assert engine.scheduler.reset_prefix_cache()
    assert row(engine, "same")["context"] == 0
    assert row(engine, "same")["prefill"] == 60


def test_asking_leaves_no_trace_in_vllms_statistics(tiny_model: Path) -> None:
    engine = Engine(tiny_model, make_planner(Fcfs()))
    engine.add(Job("first", 60, 3))
    engine.run()
    manager = engine.scheduler.kv_cache_manager
    manager.make_prefix_cache_stats()
    free = engine.free_blocks
    engine.add(Job("same", 60, 3, begins_like="first"))
    stats = manager.make_prefix_cache_stats()
    assert (stats.requests, stats.queries, stats.hits) == (0, 0, 0)
    assert engine.free_blocks == free


def test_who_may_not_read_the_cache_has_nothing_there(tiny_model: Path) -> None:
    engine = Engine(tiny_model, make_planner(Fcfs()))
    engine.add(Job("first", 60, 3))
    engine.run()
    request = Job("same", 60, 3, begins_like="first").request()
    manager = engine.scheduler.kv_cache_manager
    assert cached_tokens(manager, request) == 3 * BLOCK
    request.skip_reading_prefix_cache = True
    assert cached_tokens(manager, request) == 0
    request.skip_reading_prefix_cache = False
    manager.enable_caching = False
    assert cached_tokens(manager, request) == 0


def test_a_failing_cache_costs_no_place_in_the_plan(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law 14."""
    engine = Engine(tiny_model, make_planner(Fcfs()))
    monkeypatch.setattr("slosched.vllm.scheduler.cached_tokens", lambda *_: 1 / 0)
    engine.add(Job("one", 60, 3))
    assert row(engine, "one")["prefill"] == 60
    assert len(engine.scheduler._stock) == 1
    engine.run()
    assert engine.finished == ["one"]
    engine.check_empty()
