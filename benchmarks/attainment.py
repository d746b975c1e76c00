"""SLO attainment of all policies on the mix, from half its load to twice."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any

import numpy as np
import typer
from common import Json, Measure, Quick, Workers, at_least, finish, print_columns, run
from mix import LIMIT, Mix, Traces
from simulation import Job, attainment, run_all

from slosched.config.parts import POLICIES

LOADS = (0.5, 0.75, 1.0, 1.25, 1.6, 2.0)
BAR_LOAD, BAR = 2.0, 65.0  # on Azure's requests, where FCFS has 13.5
BAR_KEPT = 85.0
EXACT = "planned, exact lengths"


class Lengths(StrEnum):
    """What is known of an answer's length before it is out."""

    exact = "exact"
    classes = "classes"


def main(
    traces: Traces = None,
    load: Annotated[list[float] | None, typer.Option(help="As often as wanted.")] = None,
    policy: Annotated[list[str] | None, typer.Option(help="As often as wanted; all.")] = None,
    lengths: Annotated[
        Lengths, typer.Option(help="Known exactly, or with the errors of SSJF's five classes.")
    ] = Lengths.exact,
    seeds: Annotated[int, typer.Option(min=1, help="Assignments of classes to requests.")] = 3,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=C", help="Settings for `planned`.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Requests of each kind.")] = LIMIT,
    workers: Workers = 2,
    quick: Quick = False,
    json: Json = None,
) -> None:
    """Simulate the mix under every policy; time to solve is charged.

    The requests are those of benchmarks/mix.py, seed by seed the same under all policies, and so
    are the guesses at their lengths.
    """
    loads, kinds = tuple(load or LOADS), tuple(policy or POLICIES)
    if quick:
        kinds = tuple(policy or ("fcfs", "sjf", "planned"))
        loads, seeds, limit = loads[-1:], 1, min(limit, 40)
    mix = Mix(traces, limit)
    jobs = [
        Job(name, mix, x, seed, overrides)
        for x in loads
        for seed in range(seeds)
        for name, overrides in _variants(kinds, lengths, set_ or [], seed)
    ]
    results = run_all(jobs, workers, f"{mix}, {lengths} lengths")
    _print_all(results, loads)
    finish(_measures(results, loads, mix, lengths), quick, json, results)


def _variants(
    kinds: tuple[str, ...], lengths: Lengths, own: list[str], seed: int
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Name what is compared, with its settings."""
    guesses = f"predictor={{kind: noisy_classes, seed: {seed}}}"
    predictor = () if lengths is Lengths.exact else (guesses,)
    for kind in kinds:
        yield kind, (f"policy={{kind: {kind}}}", *predictor, *(own if kind == "planned" else ()))
    if lengths is Lengths.classes and "planned" in kinds:
        yield EXACT, ("policy={kind: planned}", *own)


def _measures(
    results: list[dict[str, Any]], loads: tuple[float, ...], mix: Mix, lengths: Lengths
) -> Iterator[Measure]:
    names = dict.fromkeys(result["name"] for result in results)
    others = [name for name in names if name not in ("planned", EXACT)]
    if "planned" not in names or not others:
        return
    for x in loads:
        ours = attainment(results, "planned", x)
        best = max(others, key=lambda name: attainment(results, name, x))
        value = attainment(results, best, x)
        figure, bar = f"{ours:.1f} against {value:.1f} ({best})", "best of all"
        yield Measure(f"load {x:g}: planned, % of SLOs met", figure, bar, ours >= value)
    if lengths is Lengths.exact and BAR_LOAD in loads:
        ours = attainment(results, "planned", BAR_LOAD)
        name = f"load {BAR_LOAD:g}: planned, % of SLOs met on the {mix}"
        asked = mix.traces is not None and mix.limit == LIMIT
        yield at_least(name, ours, BAR) if asked else Measure(name, f"{ours:.1f}")
    if lengths is Lengths.classes and "fcfs" in names:
        kept = np.array([_kept(results, x) for x in loads])
        each = ", ".join(f"{share:.0f}" for share in kept)
        measure = at_least("of its gain over fcfs, planned keeps, %", float(kept.mean()), BAR_KEPT)
        yield Measure(measure.name, f"{measure.figure} ({each})", measure.bar, measure.met)


def _kept(results: list[dict[str, Any]], load: float) -> float:
    """Share of the gain with exact lengths that is left with predicted ones, in percent."""
    fcfs = attainment(results, "fcfs", load)
    gain = attainment(results, EXACT, load) - fcfs
    return 100 * (attainment(results, "planned", load) - fcfs) / gain if gain > 0 else 100.0


def _print_all(results: list[dict[str, Any]], loads: tuple[float, ...]) -> None:
    names = dict.fromkeys(result["name"] for result in results)
    rows = [(name, *(f"{attainment(results, name, x):.1f}" for x in loads)) for name in names]
    print_columns([("% of SLOs met at load", *(f"{x:g}" for x in loads)), *rows])
    print()


if __name__ == "__main__":
    run(main)
