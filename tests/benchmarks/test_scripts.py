"""The benchmarks start, say what they measure, and judge by their bars."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(
    path.stem for path in FOLDER.glob("*.py") if "\n    run(main)\n" in path.read_text()
)


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Import a benchmark as the interpreter does that runs one: its folder comes first."""
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)

    def load(name: str) -> Any:
        return __import__(name)

    yield load
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == FOLDER:
            del sys.modules[name]


def start(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=FOLDER.parent,
        env={**os.environ, "COLUMNS": "200"},
        check=False,
    )


def test_all_bars_have_a_script() -> None:
    readme = (FOLDER / "README.md").read_text()
    assert SCRIPTS
    for script in SCRIPTS:
        assert f"`{script}.py" in readme


@pytest.mark.parametrize(
    "script",
    # One imports vLLM, which takes its time.
    [pytest.param(s, marks=pytest.mark.engine) if s == "step_overhead" else s for s in SCRIPTS],
)
def test_every_script_says_what_it_does(script: str) -> None:
    done = start(str(FOLDER / f"{script}.py"), "--help")
    assert done.returncode == 0, done.stderr
    assert "--quick" in done.stdout
    assert "--json" in done.stdout


ATTAINMENT = (str(FOLDER / "attainment.py"), "--quick", "--workers", "1")


def test_a_quick_run_prints_its_table_and_writes_it_down(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    done = start(*ATTAINMENT, "--policy", "fcfs", "--policy", "sjf", "--json", str(file))
    assert done.returncode == 0, done.stderr
    heading, fcfs, sjf = done.stdout.splitlines()[:3]
    assert heading == "% of SLOs met at load | 2"
    written = json.loads(file.read_text())
    assert [run["name"] for run in written["details"]] == ["fcfs", "sjf"]
    for line, run in zip((fcfs, sjf), written["details"], strict=True):
        assert line.split(" | ")[1] == f"{100 * run['slo_attainment']:.1f}"


def test_a_gateway_survives_some_hundred_requests_of_junk(tmp_path: Path) -> None:
    """No 5xx, no answer that breaks off or hangs, and nothing that is held for longer."""
    file = tmp_path / "fuzz.json"
    done = start(str(FOLDER / "fuzz.py"), "--quick", "--json", str(file))
    assert done.returncode == 0, done.stderr
    written = json.loads(file.read_text())
    # A few hundred requests say nothing of memory: what was warm at the half is a matter of chance.
    missed = [m for m in written["measures"] if m["met"] is False and "memory" not in m["name"]]
    assert not missed, written["details"]
    assert sum(written["details"]["statuses"].values()) == 400


def test_wrong_use_is_no_missed_bar(tmp_path: Path) -> None:
    done = start(*ATTAINMENT, "--policy", "fcfs", "--traces", str(tmp_path))
    assert done.returncode == 2
    assert "azure_2023_conv.csv" in done.stderr


@pytest.mark.parametrize(("met", "quick"), [(True, False), (None, False), (False, True)])
def test_what_misses_no_bar_in_earnest_does_not_fail(
    scripts: Any, met: bool | None, quick: bool
) -> None:
    common = scripts("common")
    common.finish([common.Measure("m", "1", ">= 2", met)], quick, None)


def test_a_missed_bar_fails(scripts: Any, capsys: pytest.CaptureFixture[str]) -> None:
    common = scripts("common")
    with pytest.raises(common.typer.Exit) as ended:
        common.finish([common.at_least("speed", 1.0, 2.0)], quick=False, file=None)
    assert ended.value.exit_code == 1
    assert capsys.readouterr().out.splitlines()[1].split(" | ") == [
        "speed  ",
        "1.0   ",
        ">= 2.0",
        "NO",
    ]
    assert common.at_most("size", 2.0, 2.0).met
    assert not common.at_most("size", 2.1, 2.0).met


def test_synthetic_requests_repeat_and_differ_by_seed(scripts: Any) -> None:
    synthetic = scripts("synthetic")
    for kind in (synthetic.CONVERSATION, synthetic.CODE):
        once, again, other = (synthetic.draw(kind, 50, seed) for seed in (0, 0, 1))
        assert once == again != other
        assert [r.time for r in once] == sorted(r.time for r in once)
        for lengths, drawn in (
            (kind.prompt, [r.input_tokens for r in once]),
            (kind.answer, [r.output_tokens for r in once]),
        ):
            assert lengths.least <= min(drawn) <= lengths.median <= max(drawn) <= lengths.most


def test_moore_hodgson_counts_the_largest_set_that_can_be_on_time(scripts: Any) -> None:
    optimality = scripts("optimality")
    rng = np.random.default_rng(3)
    for _ in range(20):
        service, due = rng.uniform(1, 9, 7), rng.uniform(0, 25, 7)
        snapshot = SimpleNamespace(arrival=np.zeros(7), e2e=due, now=0.0, service=service)
        feasible = [
            len(chosen)
            for size in range(8)
            for chosen in combinations(np.argsort(due), size)
            if (np.cumsum(service[list(chosen)]) <= due[list(chosen)]).all()
        ]
        assert optimality.most_on_time(snapshot) == max(feasible)


def test_a_gap_is_above_the_reference_of_the_same_instance(scripts: Any) -> None:
    convergence = scripts("convergence")
    points = [
        convergence.Point("n", "mix", instance, budget, seed, cost, 0.0, 0)
        for instance, budget, seed, cost in [
            (0, 20.0, 0, 11.0), (0, 20.0, 1, 13.0), (0, 9e3, 0, 10.0), (0, 9e3, 1, 10.0),
            (1, 20.0, 0, 30.0), (1, 20.0, 1, 30.0), (1, 9e3, 0, 30.0), (1, 9e3, 1, 30.0),
        ]
    ]  # fmt: skip
    assert convergence._gaps(points, 20.0) == pytest.approx([20.0, 0.0])


def test_planned_is_measured_against_the_best_of_the_others(scripts: Any) -> None:
    live = scripts("live")
    runs = [
        {"round": number, "policy": policy, "attainment": share, "mean_latency_s": 1.0}
        for policy, shares in {"fcfs": (20, 30), "sjf": (60, 50), "planned": (66, 56)}.items()
        for number, share in enumerate(shares)
    ]
    last = list(live.measures(runs))[-1]
    assert (last.name, last.figure, last.met) == ("planned against sjf, points", "+6.0", True)


def test_the_live_workload_is_the_stated_one(scripts: Any) -> None:
    live = scripts("live")
    live._prompts = lambda: [f"prompt {i}" for i in range(300)]
    trace = live.workload(seed=0)
    assert len(trace) == 120
    names = [traced.request.slo_class for traced in trace]
    assert {name: names.count(name) for name in set(names)} == {
        "interactive": 54, "completion": 36, "batch": 30,
    }  # fmt: skip
    for traced in trace:
        low, high = (96, 160) if traced.request.slo_class == "batch" else (8, 24)
        assert low <= traced.output_tokens <= high
    assert sorted({traced.request.arrival for traced in trace}) == [0.0, 5.0, 10.0, 15.0]
    assert trace == live.workload(seed=0) != live.workload(seed=1)


def test_runs_of_other_requests_are_not_gone_on_with(scripts: Any, tmp_path: Path) -> None:
    live = scripts("live")
    file = tmp_path / "live.json"
    assert live._finished(file, 0, 30) == []
    file.write_text(json.dumps({"details": {"seed": 0, "burst": 30, "runs": [{"round": 0}]}}))
    assert live._finished(file, 0, 30) == [{"round": 0}]
    with pytest.raises(SystemExit, match="is of other requests"):
        live._finished(file, 1, 30)


def test_what_is_kept_of_a_gain(scripts: Any) -> None:
    attainment = scripts("attainment")
    results = [
        {"name": name, "load": 1.0, "slo_attainment": share}
        for name, share in (("fcfs", 0.2), ("planned", 0.5), (attainment.EXACT, 0.6))
    ]
    assert attainment._kept(results, 1.0) == pytest.approx(75.0)


def test_pictures_let_the_reader_choose_the_colour_of_text(scripts: Any, tmp_path: Path) -> None:
    pictures = scripts("pictures")
    file = tmp_path / "p.svg"
    panel = pictures.Panel("SLOs met, %", {"load 1": [80.0, 82.0]}, span=15.0)
    pictures.curves(file, (1, 2), [panel], label="budget", marked=2)
    svg = file.read_text()
    assert "prefers-color-scheme: dark" in svg
    assert ">budget</text>" in svg
