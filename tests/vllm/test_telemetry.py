"""What a scheduler tells Prometheus while it serves, and once it has served all."""

from pathlib import Path

import numpy as np
import pytest
from prometheus_client import REGISTRY

from slosched.policies.fcfs import Fcfs
from tests.vllm.harness import AtRandom, Engine, Job, make_planner


def value(name: str, **labels: str) -> float:
    found = REGISTRY.get_sample_value(f"slosched_{name}", labels)
    return 0.0 if found is None else found


def test_every_step_is_counted_once_idle(tiny_model: Path) -> None:
    engine = Engine(tiny_model, make_planner(Fcfs()))
    before = value("step_overhead_seconds_count")
    engine.add(Job("one", 10, 20))
    steps = 0
    while engine.scheduler.has_requests():
        engine.step()
        steps += 1
    assert value("step_overhead_seconds_count") - before == steps
    assert value("step_overhead_seconds_sum") > 0


def test_waiting_requests_are_counted_by_class(tiny_model: Path) -> None:
    engine = Engine(tiny_model, make_planner(Fcfs()), sequences=1)
    engine.add(*(Job(f"i{i}", 10, 9, tag={"slosched_class": "interactive"}) for i in range(4)))
    engine.add(*(Job(f"b{i}", 10, 9) for i in range(2)))
    engine.step()
    depths = value("queue_depth", slo_class="interactive"), value("queue_depth", slo_class="batch")
    assert depths == (3, 2)
    engine.run()
    depths = value("queue_depth", slo_class="interactive"), value("queue_depth", slo_class="batch")
    assert depths == (0, 0)


def test_solves_and_the_age_of_the_plan(tiny_model: Path) -> None:
    engine = Engine(tiny_model, make_planner(Fcfs(), {"one": 110}, repredict_tokens=1000))
    before = value("solve_seconds_count", solver="fcfs")
    engine.add(Job("one", 10, 300, max_tokens=110))
    ages = []
    while engine.scheduler.has_requests():
        engine.step()
        ages.append(value("plan_age_seconds"))
    assert 0.9 < max(ages) < 1.1  # s: nothing has changed since the first steps
    assert ages[-1] == 0, "no plan is in force where nobody is left"
    assert value("solve_seconds_count", solver="fcfs") - before == engine.planner.plans >= 1


def test_how_late_plans_come_true(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planner = make_planner(Fcfs())
    errors = [("first_token", -0.2), ("finish", 1.5), ("finish", 0.01)]
    monkeypatch.setattr(planner, "take_errors", lambda: [errors.pop()] if errors else [])
    planner.margin.factor = 1.25
    engine = Engine(tiny_model, planner)
    before = {
        (event, le): value("plan_error_seconds_bucket", event=event, le=le)
        for event, le in [("first_token", "-0.1"), ("finish", "0.03"), ("finish", "3.0")]
    }
    for i in range(3):
        engine.add(Job(f"job{i}", 10, 3))
        engine.run()
    after = {
        (event, le): value("plan_error_seconds_bucket", event=event, le=le) for event, le in before
    }
    assert {key: after[key] - before[key] for key in before} == {
        ("first_token", "-0.1"): 1,
        ("finish", "0.03"): 1,
        ("finish", "3.0"): 2,
    }
    assert value("latency_margin") == planner.margin.factor


def test_failures_of_planner_and_hook_are_counted_together(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Raising:
        def plan(self, _: object) -> None:
            raise RuntimeError("no plan today")

    before = value("plan_failures_total")
    engine = Engine(tiny_model, make_planner(Raising()))  # type: ignore[arg-type]
    monkeypatch.setattr("slosched.vllm.scheduler.cached_tokens", lambda *_: 1 / 0)
    engine.add(Job("one", 10, 3))
    engine.run()
    assert engine.scheduler._shield.failures == 1
    assert value("plan_failures_total") - before == engine.planner.failures + 1


def test_errors_of_predicted_lengths(tiny_model: Path) -> None:
    before = value("prediction_error_tokens_sum")
    engine = Engine(tiny_model, make_planner(AtRandom(np.random.default_rng(0)), {"one": 20}))
    engine.add(Job("one", 10, 12))
    engine.run()
    assert value("prediction_error_tokens_sum") - before == 8
