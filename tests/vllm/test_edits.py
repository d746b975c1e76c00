"""The configuration is edited while the engine serves: what is noticed, and what is then so."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slosched.config.schema import Settings
from slosched.core.errors import ConfigError, PlanError
from slosched.core.snapshot import EngineLimits
from slosched.planner import Beside
from slosched.policies.fcfs import Fcfs
from slosched.vllm import environment
from slosched.vllm.edit import Edit, edited
from slosched.vllm.edits import Edits
from slosched.vllm.metrics import engine_metrics
from slosched.vllm.middleware import SloMiddleware
from slosched.vllm.scheduler import SloScheduler
from tests.vllm.harness import CLASSES, LATENCY, Engine, Job, make_planner, make_scheduler
from tests.vllm.harness import engine_config as vllm_config

both_depths = pytest.mark.parametrize("depth", [1, 2])
LIMITS = EngineLimits(4, 64, 16, 64)
LIVELY = {"batch": {"e2e_ms": 60_000}, "interactive": {"ttft_ms": 500}}
HANG_S = 60.0


def configured(**sections: Any) -> Settings:
    return Settings.model_validate({"classes": LIVELY, "default_class": "batch", **sections})


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + HANG_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def reloads(outcome: str) -> float:
    return float(engine_metrics().config_reloads.labels(outcome)._value.get())


# -- what is noticed -------------------------------------------------------------------------------


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Callable[..., Edits[str]]]:
    made: list[Edits[str]] = []

    def watching(build: Callable[[], str], told: Callable[[str], None]) -> Edits[str]:
        files = [tmp_path / "one", tmp_path / "two"]
        made.append(Edits(files, build, told, every_s=0.01))
        made[-1].start()
        return made[-1]

    yield watching
    for edits in made:
        edits.close()
        edits._thread.join(HANG_S)


def test_an_edit_of_any_file_is_built_once_and_the_newest_taken(
    watch: Callable[..., Edits[str]], tmp_path: Path
) -> None:
    told: list[str] = []
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("first")
    edits = watch(lambda: one.read_text() + (two.read_text() if two.exists() else ""), told.append)
    assert edits.take() is None
    two.write_text("!")  # was not there before
    until(lambda: told)
    assert edits.take() == "first!"
    assert edits.take() is None
    moved = tmp_path / "moved"
    moved.write_text("other")
    moved.replace(one)  # as editors do
    until(lambda: len(told) == 2)
    assert edits.take() == "other!"


def test_what_does_not_fit_is_told_in_one_line_and_changes_nothing(
    watch: Callable[..., Edits[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    lines: list[str] = []
    monkeypatch.setattr(
        "slosched.vllm.edits.log.warning", lambda text, *args: lines.append(text % args)
    )

    def build() -> str:
        raise ConfigError("a.yaml:1:1: wrong\na.yaml:2:1: wrong, too")

    edits = watch(build, told.append)
    (tmp_path / "one").write_text("x")
    until(lambda: told)
    assert told == ["rejected"]
    assert edits.take() is None
    (line,) = lines
    assert line.endswith("the old one stays: a.yaml:1:1: wrong; a.yaml:2:1: wrong, too")


def test_without_files_there_is_no_thread() -> None:
    before = threading.active_count()
    edits: Edits[str] = Edits([], lambda: "")
    edits.start()
    assert threading.active_count() == before


# -- what it comes to ------------------------------------------------------------------------------


def test_only_what_differs_is_built() -> None:
    old = configured(policy={"kind": "edf"})
    classes = {**LIVELY, "urgent": {"ttft_ms": 50}}
    edit = edited(
        old,
        old.model_copy(update={"classes": configured(classes=classes).classes}),
        LIMITS,
        LATENCY,
    )
    assert edit.manner is None
    assert edit.tagger.from_xargs({"slosched_class": "urgent"}).slo.ttft == 0.05

    edit = edited(old, configured(policy={"kind": "planned"}), LIMITS, LATENCY)
    assert edit.manner is not None
    assert edit.manner.kind == "anneal"
    assert edit.keep_predictor

    edit = edited(
        old, configured(policy={"kind": "edf"}, predictor={"kind": "declared"}), LIMITS, LATENCY
    )
    assert edit.manner is not None
    assert not edit.keep_predictor


@pytest.mark.parametrize(
    ("sections", "error", "said"),
    [
        ({"predictor": {"kind": "oracle"}}, ConfigError, "offline only"),
        ({"policy": {"kind": "planned", "solver": {"kind": "cpsat"}}}, ConfigError, "offline only"),
        ({"policy": {"kind": "custom", "target": "no.such:Thing"}}, ConfigError, "no.such:Thing"),
        ({"policy": {"kind": "custom", "target": "builtins:dict"}}, PlanError, "fail where they"),
    ],
)
def test_what_the_engine_could_not_use_is_refused(
    sections: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        edited(configured(policy={"kind": "edf"}), configured(**sections), LIMITS, LATENCY)


@pytest.mark.parametrize("depth", [1, 2])
def test_requests_that_wait_and_run_stay_and_say_the_same(tiny_model: Path, depth: int) -> None:
    """Laws 1, 2 and 10: from FCFS to plans, to deadlines, and back, in the middle of all."""
    engine = Engine(tiny_model, make_planner(Fcfs(), standing=Fcfs()), depth=depth, sequences=2)
    settings = configured(policy={"kind": "fcfs"})
    jobs = [Job(f"job{i}", 10 + 7 * i, 4 + 3 * i % 17) for i in range(12)]
    for policy in ("planned", "edf", "sjf", "fcfs"):
        engine.add(*jobs[:3])
        del jobs[:3]
        for _ in range(3):
            engine.step()
        fresh = configured(policy={"kind": policy})
        engine.scheduler._edits._made = edited(settings, fresh, LIMITS, LATENCY)
        settings = fresh
        engine.step()
        until(lambda: not engine.planner.manner.worker.busy)
    engine.step()
    assert engine.planner.manner.standing is not None
    engine.run()
    assert sorted(engine.finished) == sorted(engine.outputs)
    assert all(
        said == Job(name, 1, 4 + 3 * int(name[3:]) % 17).expected
        for name, said in engine.outputs.items()
    )
    engine.check_empty()
    assert not engine.caught
    assert engine.planner.failures == 0
    engine.scheduler.shutdown()


@both_depths
def test_the_order_is_the_new_ones_from_the_next_step_on(tiny_model: Path, depth: int) -> None:
    engine = Engine(tiny_model, make_planner(Fcfs(), standing=Fcfs()), depth=depth, sequences=1)
    limits = {"early": 90_000, "late": 900, "first": 50}
    jobs = [Job(n, 10, 6, tag={"slosched_e2e_ms": e2e}) for n, e2e in limits.items()]
    engine.add(*reversed(jobs))
    engine.step()
    engine.scheduler._edits._made = edited(
        configured(policy={"kind": "fcfs"}), configured(policy={"kind": "edf"}), LIMITS, LATENCY
    )
    engine.add(Job("soon", 10, 3, tag={"slosched_e2e_ms": 500}))
    engine.run()
    assert engine.finished == ["first", "soon", "late", "early"]
    engine.check_empty()


def test_classes_are_the_new_ones_for_who_comes_now(tiny_model: Path) -> None:
    engine = Engine(tiny_model, make_planner(Fcfs()))
    engine.add(Job("before", 10, 3, tag={"slosched_class": "interactive"}))
    classes = {"batch": {"e2e_ms": 1000}, "interactive": {"ttft_ms": 50}}
    fresh = configured(classes=classes)
    engine.scheduler._edits._made = Edit(fresh, fresh.tagger(), None, keep_predictor=True)
    engine.add(Job("after", 10, 3, tag={"slosched_class": "interactive"}))
    table = engine.planner.table
    ttft = [float(table.rows["ttft"][table.row(name)]) for name in ("before", "after")]
    assert ttft == [CLASSES["interactive"].slo.ttft, 0.05]
    engine.run()
    engine.check_empty()


def test_the_scheduler_follows_its_own_files(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As vLLM starts it: by the environment, with a thread that looks."""
    monkeypatch.setattr("slosched.vllm.edits._EVERY_S", 0.01)
    config, edits = tmp_path / "slo.yaml", tmp_path / "edits.json"
    config.write_text("classes: {batch: {e2e_ms: 60000}}\npolicy: {kind: fcfs}\n")
    monkeypatch.setenv(environment.CONFIG, str(config))
    monkeypatch.setenv(environment.EDITS, str(edits))
    scheduler = make_scheduler(SloScheduler, vllm_config(tiny_model, 1, 64, 4))
    applied, rejected = reloads("applied"), reloads("rejected")
    try:
        config.write_text("classes: {batch: {e2e_ms: 60000}}\npolicy: {kind: fcsf}\n")
        until(lambda: reloads("rejected") == rejected + 1)
        scheduler.schedule()
        assert isinstance(scheduler._planner.manner.policy, Fcfs)
        edits.write_text('["policy.kind=planned"]')
        until(lambda: reloads("applied") == applied + 1)
        scheduler.schedule()
        assert scheduler._planner.kind == "anneal"
        assert isinstance(scheduler._planner.manner.worker, Beside)
    finally:
        scheduler.shutdown()
        scheduler._edits._thread.join(HANG_S)


def test_the_middleware_follows_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slosched.vllm.edits._EVERY_S", 0.01)
    config = tmp_path / "slo.yaml"
    config.write_text("classes: {batch: {e2e_ms: 60000}}\n")
    monkeypatch.setenv(environment.CONFIG, str(config))
    middleware = SloMiddleware(None)  # type: ignore[arg-type]
    try:
        config.write_text("classes: {other: {e2e_ms: 60000}}\n")
        until(lambda: middleware._edits._made is not None)
        fresh = middleware._edits.take()
        assert fresh is not None
        assert fresh.default_class == "other"
    finally:
        middleware._edits.close()
        middleware._edits._thread.join(HANG_S)
