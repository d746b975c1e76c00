"""What it is worth to know lengths: the same policies by exact ones, by a model, by experience."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from common import (
    FOLDER,
    Json,
    Measure,
    Quick,
    Seed,
    at_least,
    finish,
    note,
    print_columns,
    run,
    track,
)
from sources import read_source, served_per_second, settings, sharegpt

from slosched.config.schema import Settings
from slosched.core.errors import TraceError
from slosched.core.request import TracedRequest
from slosched.core.types import FloatArray
from slosched.predictors.encoder import open_encoder
from slosched.sim.summary import summarize
from slosched.traces import TraceRecord
from slosched.traces.workload import Recorded, build
from slosched.training.examples import Example, read_examples, recounted, split

sys.path.insert(0, str(FOLDER.parent))

from tests.predictors.parts import bge_small

CHAT = "azure_2023_conv"
PROFILE = "engine.profile=h100-llama2-70b-tp8"
_AT_ONCE = 1e9  # times as fast
GAIN_BAR = 85.0  # % of what exact lengths gain over FCFS


class Row(NamedTuple):
    """A policy, and what tells it lengths."""

    name: str
    policy: str
    predictor: str


def main(
    model: Annotated[str, typer.Option(help="Of slosched train; folder or name.")],
    encoder: Annotated[
        str | None, typer.Option(metavar="NAME|FOLDER", help="Else BGE-small, in int8.")
    ] = None,
    ranker: Annotated[
        str | None, typer.Option(help="Model of --preset ltr, for the policy ltr.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Model of --preset ssjf, for the policy ssjf.")
    ] = None,
    traces: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help=f"Of {CHAT}.csv; else it is drawn.")
    ] = None,
    load: Annotated[list[float] | None, typer.Option(help="As often as wanted.")] = None,
    limit: Annotated[int, typer.Option(min=40, help="Requests.")] = 500,
    seeds: Annotated[int, typer.Option(min=1, help="Assignments of classes.")] = 3,
    every: Annotated[int, typer.Option(min=1, help="Tokens after which it predicts again.")] = 50,
    seed: Seed = 0,
    quick: Quick = False,
    json: Json = None,
) -> None:
    """Serve Azure's arrivals with ShareGPT's questions, of which no model learned.

    Load 1 is what the engine serves in vLLM's order when it is never short of requests. 30% of all
    requests are batch jobs. The seed is that of the models' split.
    """
    reader = str(encoder or bge_small())
    loads = tuple(load or (0.8, 1.0, 1.5, 2.0))
    if quick:
        loads, limit, seeds = loads[-1:], 40, 1
    records = _records(reader, traces, limit, seed)
    rows = list(_rows(model, reader, ranker, classes))
    cells = [(x, s, row) for x in loads for s in range(seeds) for row in rows]
    note(f"{len(cells)} runs of {len(records)} requests")
    rate = _capacity(records)
    met: dict[tuple[str, float], list[float]] = {}
    details: list[dict[str, Any]] = []
    for x, s, row in track(cells, "runs"):
        figures = _simulate(row, records, rate * x, s, every)
        met.setdefault((row.name, x), []).append(100 * figures["slo_attainment"])
        details.append({"row": row.name, "load": x, "seed": s, **figures})
    _print(rows, loads, met)
    finish(_measures(loads, met), quick, json, {"runs": details})


def _rows(model: str, encoder: str, ranker: str | None, classes: str | None) -> Iterator[Row]:
    exact, history = "predictor={kind: oracle}", "predictor={kind: history}"
    ours = f"predictor={{kind: encoder, model: {model}, encoder: {encoder}}}"
    yield Row("fcfs", "fcfs", history)
    yield Row("planned, exact lengths", "planned", exact)
    yield Row("planned, model", "planned", ours)
    yield Row("planned, history", "planned", history)
    yield Row("isrtf, model (ELIS)", "isrtf", ours)
    if ranker:
        yield Row("ltr, its ranker", "ltr", f"predictor={{kind: ranker, model: {ranker}}}")
    if classes:
        yield Row("ssjf, its classes", "ssjf", f"predictor={{kind: encoder, model: {classes}}}")
    yield Row("slo_sa, model", "slo_sa", ours)


def _records(encoder: str, traces: Path | None, limit: int, seed: int) -> list[TraceRecord]:
    """Return questions that no model of this seed learned from, as if they came to Azure."""
    examples = recounted(read_examples([sharegpt()]), open_encoder(encoder).count)
    asked = split(examples, seed).test[:limit]
    arrivals = read_source(CHAT, traces, limit)
    if len(asked) < limit or len(arrivals) < limit:
        raise TraceError(f"--limit: {min(len(asked), len(arrivals))} requests are all there are")
    return [_record(i, a.time, e) for i, (a, e) in enumerate(zip(arrivals, asked, strict=True))]


def _record(number: int, time: float, asked: Example) -> TraceRecord:
    return TraceRecord(
        str(number), time, max(asked.input_tokens, 1), asked.output_tokens, CHAT, asked.prompt,
        answer=asked.answer,
    )  # fmt: skip


def _capacity(records: Sequence[TraceRecord]) -> float:
    """Requests a second while the engine has as many as it can take."""
    chosen = settings((PROFILE, "engine.scheduler=vllm-fcfs"))
    return served_per_second(chosen, _workload(records, chosen, None, 0))


def _workload(
    records: Sequence[TraceRecord], chosen: Settings, rate: float | None, seed: int
) -> list[TracedRequest]:
    """Return the requests, so many a second in the mean; all at once without a rate."""
    span = records[-1].time - records[0].time
    factor = _AT_ONCE if rate is None else rate * span / (len(records) - 1)
    return build(
        [list(records)],
        chosen.slo_classes(),
        chosen.tagger().default_class,
        rules=chosen.workload.assign,
        arrivals=Recorded(),
        load=factor,
        seed=seed,
    )


def _simulate(
    row: Row, records: Sequence[TraceRecord], rate: float, seed: int, every: int
) -> dict[str, Any]:
    overrides = (PROFILE, row.predictor, f"planner.repredict_tokens={every}")
    chosen = settings(overrides).with_policy(row.policy).offline(seed)
    trace = _workload(records, chosen, rate, seed)
    figures = summarize(chosen.simulated_engine(trace).run(trace))
    kept = ("slo_attainment", "mean_ttft_ms", "mean_e2el_ms", "per_class")
    return {name: figures[name] for name in kept}


def _print(
    rows: Sequence[Row], loads: Sequence[float], met: dict[tuple[str, float], list[float]]
) -> None:
    cells = [(row.name, *(f"{np.mean(met[row.name, x]):.1f}" for x in loads)) for row in rows]
    print_columns([("% of SLOs met at load", *(f"{x:g}" for x in loads)), *cells])
    print()


def _measures(
    loads: Sequence[float], met: dict[tuple[str, float], list[float]]
) -> Iterator[Measure]:
    def of(name: str) -> FloatArray:
        return np.array([np.mean(met[name, x]) for x in loads])

    fcfs, exact = of("fcfs"), of("planned, exact lengths")
    model, history = of("planned, model"), of("planned, history")
    gain = exact - fcfs
    yield at_least(
        "of the gain of exact lengths over FCFS, by the model, %",
        100 * float((model - fcfs).sum() / gain.sum()),
        GAIN_BAR,
    )
    yield Measure("the same by history, %", f"{100 * (history - fcfs).sum() / gain.sum():.1f}")
    ahead = model - history
    yield Measure(
        "model against history, points at each load",
        ", ".join(f"{points:+.1f}" for points in ahead),
        "> 0 in the mean",
        float(ahead.mean()) > 0,
    )


if __name__ == "__main__":
    run(main)
