"""How fast the simulator is, how much memory it takes, and that it repeats byte by byte."""

import resource
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Annotated, Any

import orjson
import typer
from common import Json, Measure, Quick, at_most, finish, note, run
from mix import Mix, Traces, settings

from slosched.whatif.replay import replay, result
from slosched.whatif.streaming import Stream
from slosched.whatif.streaming import simulate as stream

ALL = 10**6  # of each trace: more than there are
BARS = {"fcfs": 15.0, "planned": 300.0}  # s, on Azure's 28,185 requests
LOADS = {"fcfs": 1.0, "planned": 1.5}
MEMORY_BAR = 1000.0  # MB


@dataclass(frozen=True)
class Job:
    """A policy on a mix."""

    policy: str
    mix: Mix
    load: float


def main(
    traces: Traces = None,
    streamed: Annotated[
        int, typer.Option(min=1000, help="Requests of the long trace; a tenth comes first.")
    ] = 1_000_000,
    quick: Quick = False,
    json: Json = None,
) -> None:
    """Simulate both Azure traces whole under fcfs and planned, each in a process of its own.

    Then a planned run twice, to compare bytes; then a long trace of short requests, streamed from
    a file, and a tenth of it.
    """
    limit = 60 if quick else ALL if traces else 14_000
    mix = Mix(traces, limit)
    details: list[dict[str, Any]] = []
    measures: list[Measure] = []
    for policy, bar in BARS.items():
        note(f"{policy} at load {LOADS[policy]:g}")
        found = _apart(_serve, Job(policy, mix, LOADS[policy]))
        details.append(found)
        what = f"{found['requests']} requests, {policy} at load {LOADS[policy]:g}"
        asked = traces is not None
        seconds, memory = found["cpu_s"], found["peak_mb"]
        measures += [
            at_most(f"{what}: s of one core", seconds, bar)
            if asked
            else Measure(f"{what}: s of one core", f"{seconds:.1f}"),
            at_most(f"{what}: peak MB", memory, MEMORY_BAR, "{:.0f}"),
        ]
    twice = [_apart(_bytes, Job("planned", Mix(traces, min(limit, 150)), 1.5)) for _ in range(2)]
    measures.append(Measure("same seed", "same bytes", "same", twice[0] == twice[1]))
    lengths = [100, 1000] if quick else [streamed // 10, streamed]
    peaks = []
    for length in lengths:
        note(f"{length} requests, streamed")
        peaks.append(_apart(_stream, length))
    details += peaks
    growth = peaks[1]["peak_mb"] - peaks[0]["peak_mb"]
    name = f"MB that {lengths[1]} streamed requests take beyond {lengths[0]}"
    measures.append(at_most(name, growth, 10.0))
    finish(measures, quick, json, details)


def _apart(function: Any, argument: Any) -> Any:  # noqa: ANN401 - whatever a function takes
    """Call a function in a fresh process: peaks of memory never go down."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, argument).result()


def _serve(job: Job) -> dict[str, Any]:
    chosen = settings().with_policy(job.policy).offline()
    replay(chosen, Mix(limit=20).requests(chosen, 20.0, 0))  # compiles
    trace = job.mix.requests(chosen, job.load, 0)
    started, began = process_time(), perf_counter()
    records = replay(chosen, trace)
    return {
        "policy": job.policy,
        "requests": len(trace),
        "output_tokens": int(records.output_tokens.sum()),
        "steps": records.steps,
        "plans": records.plans,
        "slo_attainment": float(records.attained.mean()),
        "cpu_s": process_time() - started,
        "wall_s": perf_counter() - began,
        "peak_mb": _peak_mb(),
    }


def _bytes(job: Job) -> bytes:
    chosen = settings().with_policy(job.policy).offline()
    records = replay(chosen, job.mix.requests(chosen, job.load, 0))
    return orjson.dumps(result(chosen, records, per_request=True))


def _stream(length: int) -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "long.jsonl"
        with path.open("w") as file:
            file.writelines(_lines(length))
        chosen = settings(["predictor.kind=history"]).with_policy("fcfs").offline()
        started = process_time()
        run = stream(Stream(chosen, [path], None, 1.0, 0), lambda _: None)
    seconds = process_time() - started
    return {"streamed": run["completed"], "cpu_s": seconds, "peak_mb": _peak_mb()}


def _lines(count: int) -> Iterator[str]:
    """Write short requests, three quarters of what the engine can serve."""
    for i in range(count):
        prompt, answer = 20 + i * 7 % 50, 1 + i * 3 % 7
        yield (
            f'{{"timestamp": {i * 9}, "input_length": {prompt}, "output_length": {answer}, '
            f'"request_id": "{i}"}}\n'
        )


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


if __name__ == "__main__":
    run(main)
