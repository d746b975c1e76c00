"""Every policy on every trace, from an idle engine to twice what it can serve."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import papers
import typer
from cells import Cell, met, run_all
from common import FOLDER, Json, Measure, Quick, Workers, finish, note, print_columns, run
from sources import Source, available

from slosched.config.parts import POLICIES
from slosched.core.types import FloatArray
from slosched.whatif.bootstrap import paired_interval

LOADS = (0.1, 0.5, 0.8, 1.0, 1.5, 2.0)
PROFILES = ("h100-llama2-70b-tp8", "a100-llama2-70b-tp8")
# 8 GPUs of 80 GB hold 352 GB of BLOOM's weights, and its KV takes 4 MB a token: 56,000 of them.
TIGHT = ("h100-bloom-176b-tp8", "a100-bloom-176b-tp8")
TIGHT_TRACES, TIGHT_LOADS, TIGHT_BLOCKS = ("azure-chat", "sharegpt"), (0.8, 2.0), 3500
TIE = 0.5  # points of SLOs met that are no difference

Result = dict[str, Any]


def main(
    traces: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Of azure_2023_conv.csv, azure_2023_code.csv and mooncake_conversation.jsonl; "
            "without it, Azure's are drawn, and Mooncake is left out.",
        ),
    ] = None,
    trace: Annotated[list[str] | None, typer.Option(help="As often as wanted; all.")] = None,
    load: Annotated[list[float] | None, typer.Option(help="As often as wanted.")] = None,
    policy: Annotated[list[str] | None, typer.Option(help="As often as wanted; all.")] = None,
    limit: Annotated[int, typer.Option(min=40, help="Requests of each trace.")] = 500,
    seeds: Annotated[int, typer.Option(min=1, help="Assignments of classes.")] = 1,
    kept: Annotated[
        Path, typer.Option(help="Where results are kept; a run goes on where it stopped.")
    ] = FOLDER.parent / ".cache" / "headtohead.jsonl",
    workers: Workers = 2,
    quick: Quick = False,
    json: Json = None,
) -> None:
    """Simulate all policies on all traces; then each paper's own comparison.

    Load 1 is what the engine serves in vLLM's order when it is never short of requests. Nobody
    knows a length: all go by guesses as often wrong as SSJF's published ones. Of all requests 30%
    are batch jobs; `priority` goes by class. Intervals are 95%, by a bootstrap over blocks of
    neighbours.
    """
    names, loads = tuple(trace or available(traces)), tuple(load or LOADS)
    kinds = tuple(dict.fromkeys(policy or POLICIES))
    if quick:
        names, loads, limit = names[:1], loads[-1:], 40
        kinds = tuple(policy or ("fcfs", "sjf", "planned"))
    sources = [Source(name, traces, limit) for name in names]
    matrix = list(_matrix(sources, loads, kinds, seeds, quick=quick))
    theirs = [] if quick else list(papers.cells(traces, limit))
    note(f"{len(matrix) + len(theirs)} cells of {limit} requests")
    results = run_all([*matrix, *theirs], kept, workers)
    of_matrix = results[: len(matrix)]
    for group in _grouped(of_matrix, ("trace", "profile")):
        _print(group)
    if theirs:
        papers.show(results[len(matrix) :], theirs)
    finish(_measures(of_matrix), quick, json, {"runs": results})


def _matrix(
    sources: Sequence[Source],
    loads: Sequence[float],
    kinds: Sequence[str],
    seeds: int,
    *,
    quick: bool,
) -> Iterator[Cell]:
    for source in sources:
        for profile in PROFILES[:1] if quick else PROFILES:
            overrides = (f"engine.profile={profile}",)
            yield from _workloads(source, loads, kinds, seeds, overrides)
        for profile in () if quick or source.name not in TIGHT_TRACES else TIGHT:
            overrides = (f"engine.profile={profile}", f"engine.num_kv_blocks={TIGHT_BLOCKS}")
            yield from _workloads(source, TIGHT_LOADS, kinds, seeds, overrides)


def _workloads(
    source: Source,
    loads: Sequence[float],
    kinds: Sequence[str],
    seeds: int,
    overrides: tuple[str, ...],
) -> Iterator[Cell]:
    for x in loads:
        for seed in range(seeds):
            for kind in kinds:
                yield Cell(kind, source, x, seed, overrides)


def _interval(values: FloatArray) -> tuple[float, float]:
    """95% interval of a mean over requests in order of arrival, shape (seeds, requests)."""
    by_request = np.atleast_2d(values).mean(axis=0)
    nothing, alike = np.zeros(len(by_request)), np.ones(len(by_request))
    found = paired_interval(nothing, by_request, alike, seed=0)
    return found.low, found.high


def _grouped(results: Sequence[Result], names: Sequence[str]) -> Iterator[list[Result]]:
    groups: dict[tuple[Any, ...], list[Result]] = {}
    for result in results:
        groups.setdefault(tuple(result[name] for name in names), []).append(result)
    yield from groups.values()


def _print(group: Sequence[Result]) -> None:
    """Print attainment by policy and load, with half the width of its interval."""
    loads = sorted({result["load"] for result in group})
    rows = []
    for runs in _grouped(group, ("policy",)):
        cells = []
        for at_load in (_at(runs, x) for x in loads):
            values = np.array([met(result) for result in at_load])
            low, high = _interval(values)
            cells.append(f"{100 * values.mean():.1f} +-{50 * (high - low):.1f}")
        rows.append((runs[0]["policy"], *cells))
    title = f"{group[0]['trace']}, {group[0]['profile']}: % of SLOs met at load"
    print_columns([(title, *(f"{x:g}" for x in loads)), *rows])
    print()


def _at(results: Sequence[Result], load: float) -> list[Result]:
    return [result for result in results if result["load"] == load]


def _measures(results: Sequence[Result]) -> Iterator[Measure]:
    """Judge `planned` against the best of the others, workload by workload."""
    compared = list(_compared(results))
    if not compared:
        return
    behind = [where for where, gain, _, _ in compared if gain < -TIE]
    surely = sum(low > 0 for _, _, low, _ in compared)
    gains = [gain for _, gain, _, _ in compared]
    figure = f"{len(compared) - len(behind)} of {len(compared)}; median gain {np.median(gains):.1f}"
    if behind:
        figure += f"; not {', '.join(behind)}"
    yield Measure(
        "workloads on which planned is the best, or within half a point", figure, "all", not behind
    )
    yield Measure("of these, with 95% confidence better than the best other", str(surely))
    for kind in ("fcfs", "isrtf", "ltr", "ssjf", "slo_sa"):
        gaps = list(_against(results, kind))
        if gaps:
            yield Measure(
                f"planned against {kind}, mean points over all workloads",
                f"{np.mean(gaps):+.1f} (least {min(gaps):+.1f})",
                "> 0",
                float(np.mean(gaps)) > 0,
            )


def _compared(results: Sequence[Result]) -> Iterator[tuple[str, float, float, float]]:
    """Yield each workload, planned's points above the best other, and their interval."""
    for group in _grouped(results, ("trace", "profile", "load")):
        by_policy = {
            runs[0]["policy"]: np.array([met(r) for r in runs])
            for runs in _grouped(group, ("policy",))
        }
        ours = by_policy.pop("planned", None)
        if ours is None or not by_policy:
            continue
        best = max(by_policy.values(), key=lambda values: float(values.mean()))
        low, high = _interval(ours - best)
        where = f"{group[0]['trace']} on {group[0]['profile']} at {group[0]['load']:g}"
        yield where, 100 * float((ours - best).mean()), 100 * low, 100 * high


def _against(results: Sequence[Result], kind: str) -> Iterator[float]:
    for group in _grouped(results, ("trace", "profile", "load", "seed")):
        by_policy = {result["policy"]: result for result in group}
        if {"planned", kind} <= by_policy.keys():
            gap = by_policy["planned"]["slo_attainment"] - by_policy[kind]["slo_attainment"]
            yield 100 * gap


if __name__ == "__main__":
    run(main)
