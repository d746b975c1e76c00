"""What each decision of a plan is worth, where it matters."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from typing import Annotated, Any

import numpy as np
import typer
from common import Json, Measure, Quick, Workers, finish, run
from mix import LIMIT, Mix, Traces
from simulation import Job, run_all

LOADS = (1.0, 1.6)

# What is switched off, and how; everything else is as by default.
OFF = {
    "preemption": ("policy.preemption=false",),
    "admission_gate": ("policy.admission_gate=false",),
    "prefill_budget": ("policy.prefill_budget=false",),
    # Each can stand in for the other.
    "gate or budget": ("policy.admission_gate=false", "policy.prefill_budget=false"),
    "robust": ("policy.robust=false",),
    "learned margin": ("planner.margin={kind: fixed}",),
    "latency_weight": ("policy.objective.latency_weight=0",),
}


@dataclass(frozen=True)
class Scenario:
    """A way to serve the mix, and the decisions that it is about.

    Parameters
    ----------
    overrides
        Settings, under every variant.
    slower, noise
        As a `Job` has them.
    """

    name: str
    decisions: tuple[str, ...]
    overrides: tuple[str, ...] = ()
    slower: float = 1.0
    noise: float = 0.0


SCENARIOS = (
    Scenario(
        "the mix",
        ("preemption", "admission_gate", "prefill_budget", "gate or budget", "latency_weight"),
    ),
    Scenario(
        "chat with a TPOT of 60 ms",
        ("preemption", "admission_gate", "prefill_budget", "gate or budget"),
        ("classes.chat={ttft_ms: 1000, tpot_ms: 60}",),
    ),
    Scenario(
        "lengths by class",
        ("robust", "preemption", "learned margin"),
        ("predictor={kind: noisy_classes}",),
    ),
    Scenario("steps 20% slower", ("learned margin",), slower=1.2),
    Scenario("steps of noise 0.5", ("learned margin",), noise=0.5),
)


def main(
    traces: Traces = None,
    seeds: Annotated[int, typer.Option(min=1, help="Assignments of classes.")] = 4,
    load: Annotated[list[float] | None, typer.Option(help="As often as wanted.")] = None,
    workers: Workers = 2,
    quick: Quick = False,
    json: Json = None,
) -> None:
    """Simulate `planned` with one decision switched off at a time, on the same requests.

    The scenarios: the mix as it is; conversations that also want 60 ms a token, while long code
    prompts stretch the steps; lengths known with the errors of a five-class predictor; an engine
    whose steps take 20% longer than the planner is told, or anything between (lognormal, 0.5).
    """
    loads, limit = tuple(load or LOADS), LIMIT
    if quick:
        loads, limit, seeds = (2.0,), 30, 1
    jobs = list(_jobs(Mix(traces, limit), loads, seeds))
    results = run_all(jobs, workers, "decisions")
    found = list(_measures(results, seeds * len(loads)))
    finish(found, quick, json, results)


def _jobs(mix: Mix, loads: tuple[float, ...], seeds: int) -> Iterator[Job]:
    for scenario in SCENARIOS:
        variants = {"all": (), **{name: OFF[name] for name in scenario.decisions}}
        for name, off in variants.items():
            overrides = (*scenario.overrides, *off)
            for load in loads:
                for seed in range(seeds):
                    full = f"{scenario.name}: {name}"
                    yield Job(full, mix, load, seed, overrides, scenario.slower, scenario.noise)


def _measures(results: list[dict[str, Any]], pairs: int) -> Iterator[Measure]:
    """Report attainment with all decisions, and what each of them adds, paired run by run."""
    for scenario in SCENARIOS:
        with_all = _attained(results, f"{scenario.name}: all")
        yield Measure(f"{scenario.name}: planned, % of SLOs met", f"{with_all.mean():.1f}")
        for name in scenario.decisions:
            gains = with_all - _attained(results, f"{scenario.name}: {name}")
            spread = gains.std(ddof=1) / sqrt(pairs) if pairs > 1 else 0.0
            yield Measure(
                f"{scenario.name}: what {name} adds, points",
                f"{gains.mean():+.1f} +- {spread:.1f}",
            )


def _attained(results: list[dict[str, Any]], name: str) -> Any:  # noqa: ANN401 - an array
    """Attainment in percent, by load and seed."""
    return np.array([100 * r["slo_attainment"] for r in results if r["name"] == name])


if __name__ == "__main__":
    run(main)
