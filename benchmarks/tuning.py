"""What the parameters of policy, solver and planner do to attainment and to overhead."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from common import FOLDER, Json, Measure, Quick, Workers, finish, run
from mix import LIMIT, Mix, Traces
from pictures import Panel, curves
from simulation import Job, attainment, run_all

PICTURES = FOLDER.parent / "docs" / "pictures"
LOADS = (1.0, 2.0)


@dataclass(frozen=True)
class Sweep:
    """Values of one parameter, and under which other settings they are tried.

    Parameters
    ----------
    path
        The parameter's place in the YAML; in `setting` too, where that is more than it alone.
    default
        Its default, if that is among the values.
    """

    path: str
    values: tuple[float, ...]
    default: float | None = None
    setting: str = ""
    overrides: tuple[str, ...] = ()
    slower: float = 1.0
    noise: float = 0.0

    @property
    def name(self) -> str:
        """The parameter's own name, and the picture's."""
        return self.path.rpartition(".")[2]

    def override(self, value: float) -> str:
        """Set the parameter to a value, as `--set` does."""
        return self.setting.format(value) if self.setting else f"{self.path}={value:g}"


SWEEPS = (
    Sweep("policy.solver.time_budget_ms", (0.5, 1, 2, 5, 10, 20, 50), 10),
    Sweep("policy.solver.acceptance", (1e-9, 1e-5, 0.001, 0.05, 0.5), 0.001),
    Sweep("policy.solver.cooling", (0.8, 0.9, 0.95, 0.98), 0.95),
    Sweep("policy.solver.restarts", (1, 2, 4, 8), 1),
    Sweep("policy.solver.horizon", (16, 32, 64, 128, 256), 128),
    Sweep("policy.solver.max_preemptions", (0, 1, 2, 4, 8), 2),
    Sweep("policy.objective.latency_weight", (0, 0.0001, 0.001, 0.01, 0.1), 0.001),
    Sweep("policy.objective.tardiness_weight", (0, 0.001, 0.01, 0.1, 0.5), 0.01),
    Sweep("policy.guard.passes", (10, 30, 100, 300, 1000), 1000),
    Sweep("planner.solve_ms", (0, 3, 7, 15, 30, 60, 120)),
    Sweep("planner.max_plan_age_ms", (30, 100, 300, 1000, 3000), 1000),
    Sweep(
        "planner.repredict_tokens",
        (10, 25, 50, 100, 1000),
        50,
        overrides=("predictor={kind: history}",),
    ),
    Sweep(
        "planner.margin.factor",
        (1, 1.1, 1.2, 1.4),
        setting="planner.margin={{kind: fixed, factor: {:g}}}",
        slower=1.15,
        noise=0.3,
    ),
    Sweep(
        "planner.margin.quantile",
        (0.3, 0.5, 0.7, 0.9),
        0.5,
        setting="planner.margin={{kind: learned, quantile: {:g}}}",
        slower=1.15,
        noise=0.3,
    ),
)


def main(
    parameter: Annotated[
        list[str] | None, typer.Option(help="As often as wanted, by its own name; all.")
    ] = None,
    traces: Traces = None,
    load: Annotated[list[float] | None, typer.Option(help="As often as wanted; 1 and 2.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Assignments of classes.")] = 3,
    limit: Annotated[int, typer.Option(min=1, help="Requests of each kind.")] = LIMIT,
    pictures: Annotated[Path, typer.Option(help="Folder for the pictures.")] = PICTURES,
    workers: Workers = 2,
    quick: Quick = False,
    json: Json = None,
) -> None:
    """Simulate the mix over the values of each parameter, and draw what comes out.

    Attainment is deterministic; the time that a plan takes is this machine's. The margin is
    tried on an engine whose steps take 15% longer than the planner is told, with lognormal noise
    of 0.3; new predictions with lengths by experience (`history`), as exact ones never change.
    """
    sweeps = [s for s in SWEEPS if parameter is None or s.name in parameter]
    loads = tuple(load or LOADS)
    if quick:
        loads, seeds, limit = loads[-1:], 1, min(limit, 30)
    pictures.mkdir(parents=True, exist_ok=True)
    jobs = [job for sweep in sweeps for job in _jobs(sweep, Mix(traces, limit), loads, seeds)]
    results = run_all(jobs, workers, "tuning")
    for sweep in sweeps:
        _draw(sweep, results, loads, pictures / f"{sweep.name}.svg")
    measures = [m for sweep in sweeps for m in _measures(sweep, results, loads)]
    finish(measures, quick, json, results)


def _jobs(sweep: Sweep, mix: Mix, loads: tuple[float, ...], seeds: int) -> Iterator[Job]:
    for value in sweep.values:
        overrides = (*sweep.overrides, sweep.override(value))
        for load in loads:
            for seed in range(seeds):
                name = _name(sweep, value)
                yield Job(name, mix, load, seed, overrides, sweep.slower, sweep.noise)


def _draw(
    sweep: Sweep, results: list[dict[str, Any]], loads: tuple[float, ...], file: Path
) -> None:
    met = {
        f"load {load:g}": [attainment(results, _name(sweep, v), load) for v in sweep.values]
        for load in loads
    }
    took = {
        f"load {load:g}": [_solve_ms(results, _name(sweep, v), load) for v in sweep.values]
        for load in loads
    }
    panels = (Panel("SLOs met, %", met, span=15.0), Panel("ms a plan", took))
    curves(file, sweep.values, panels, label=sweep.path, marked=sweep.default)


def _measures(
    sweep: Sweep, results: list[dict[str, Any]], loads: tuple[float, ...]
) -> Iterator[Measure]:
    for value in sweep.values:
        name = _name(sweep, value)
        figures = [
            f"load {load:g}: {attainment(results, name, load):.1f}% met, "
            f"{_solve_ms(results, name, load):.1f} ms a plan"
            for load in loads
        ]
        yield Measure(name, "; ".join(figures))


def _solve_ms(results: list[dict[str, Any]], name: str, load: float) -> float:
    found = [r["mean_solve_ms"] for r in results if (r["name"], r["load"]) == (name, load)]
    return float(np.mean(found))


def _name(sweep: Sweep, value: float) -> str:
    return f"{sweep.path} {value:g}"


if __name__ == "__main__":
    run(main)
