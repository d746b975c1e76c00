"""What the parameters of policy, solver and planner do to attainment and to overhead."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from common import FOLDER, Json, Measure, Quick, Workers, finish, run
from mix import LIMIT, Mix, Traces, settings
from pictures import Panel, curves
from simulation import Job, run_all

from slosched.config.schema import dump

PICTURES = FOLDER.parent / "docs" / "pictures"
LOADS = (1.0, 2.0)
UNITS = {"slo_attainment": 100.0, "mean_e2el_ms": 1e-3}  # percent, seconds


@dataclass(frozen=True)
class Sweep:
    """Values of one parameter, and under which other settings they are tried.

    Parameters
    ----------
    path
        The parameter's place in the YAML; in `setting` too, where that is more than it alone.
    others
        Values to try beside the default.
    """

    path: str
    others: tuple[float, ...]
    setting: str = ""
    overrides: tuple[str, ...] = ()
    slower: float = 1.0
    noise: float = 0.0

    @cached_property
    def default(self) -> float | None:
        """Its default; None if it has none, or another kind of part has it."""
        value: Any = dump(settings())
        for name in self.path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        return None if value is None else float(value)

    @property
    def values(self) -> list[float]:
        """All values to try, in order."""
        return sorted({*self.others, *(() if self.default is None else (self.default,))})

    @property
    def name(self) -> str:
        """The parameter's own name, and the picture's."""
        return self.path.rpartition(".")[2]

    def override(self, value: float) -> str:
        """Set the parameter to a value, as `--set` does."""
        return self.setting.format(value) if self.setting else f"{self.path}={value:g}"


SWEEPS = (
    Sweep("policy.solver.time_budget_ms", (0.5, 1, 2, 5, 10, 20, 50)),
    Sweep("policy.solver.acceptance", (1e-9, 1e-5, 0.001, 0.05, 0.5)),
    Sweep("policy.solver.cooling", (0.8, 0.9, 0.95, 0.98)),
    Sweep("policy.solver.restarts", (1, 2, 4, 8)),
    Sweep("policy.solver.horizon", (16, 32, 64, 128, 256)),
    Sweep("policy.solver.max_preemptions", (0, 1, 2, 4, 8)),
    Sweep("policy.objective.latency_weight", (0, 1e-5, 1e-4, 1e-3, 0.01, 0.1)),
    Sweep("policy.objective.tardiness_weight", (0, 0.01, 0.1, 0.3, 0.5, 0.9)),
    Sweep("policy.guard.passes", (30, 100, 300, 1000, 3000, 10_000)),
    Sweep("planner.solve_ms", (0, 3, 7, 15, 30, 60, 120)),
    Sweep("planner.max_plan_age_ms", (30, 100, 300, 1000, 3000)),
    Sweep(
        "planner.repredict_tokens",
        (10, 25, 50, 100, 1000),
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
    def lines(figure: str) -> dict[str, list[float]]:
        return {
            f"load {load:g}": [_mean(results, _name(sweep, v), load, figure) for v in sweep.values]
            for load in loads
        }

    panels = (
        Panel("SLOs met, %", lines("slo_attainment"), span=15.0),
        Panel("mean latency, s", lines("mean_e2el_ms")),
        Panel("ms a plan", lines("mean_solve_ms")),
    )
    curves(file, sweep.values, panels, label=sweep.path, marked=sweep.default)


def _measures(
    sweep: Sweep, results: list[dict[str, Any]], loads: tuple[float, ...]
) -> Iterator[Measure]:
    for value in sweep.values:
        name = _name(sweep, value)
        figures = [
            f"load {load:g}: {_mean(results, name, load, 'slo_attainment'):.1f}% met, "
            f"{_mean(results, name, load, 'mean_e2el_ms'):.1f} s, "
            f"{_mean(results, name, load, 'mean_solve_ms'):.1f} ms a plan"
            for load in loads
        ]
        yield Measure(name, "; ".join(figures))


def _mean(results: list[dict[str, Any]], name: str, load: float, figure: str) -> float:
    """Mean of a figure over the seeds, in the unit of its panel."""
    unit = UNITS.get(figure, 1.0)
    found = [r[figure] for r in results if (r["name"], r["load"]) == (name, load)]
    return float(np.mean(found)) * unit


def _name(sweep: Sweep, value: float) -> str:
    return f"{sweep.path} {value:g}"


if __name__ == "__main__":
    run(main)
