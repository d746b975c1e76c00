"""How much memory a planner takes that has thousands waiting."""

import re
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter, sleep
from typing import Annotated

import numpy as np
import typer
from common import Json, Quick, Seed, at_most, finish, note, run
from mix import settings
from synthetic import CODE, CONVERSATION

from slosched.core.latency import LinearLatency
from slosched.core.request import Request
from slosched.core.slo import SloClass
from slosched.core.snapshot import EngineLimits
from slosched.planner import Planner

MB = 1e6
BAR_MB = 200.0


def main(
    waiting: Annotated[int, typer.Option(min=100, help="Requests.")] = 5000,
    slots: Annotated[int, typer.Option(min=1, help="Of the engine, all taken.")] = 256,
    steps: Annotated[int, typer.Option(min=1, help="In each somebody comes and goes.")] = 200,
    seed: Seed = 0,
    quick: Quick = False,
    json: Json = None,
) -> None:
    """Plan a long queue step by step, each way of counting in a fresh process.

    The peak of the resident set counts all that the process took from the system since it planned
    a queue of ten; tracemalloc counts what Python and numpy allocated meanwhile.
    """
    if quick:
        waiting, steps = 300, 3
    figures = {}
    for name, count in (
        ("growth of the resident set", resident_growth),
        ("most allocated at once (tracemalloc)", traced_peak),
    ):
        note(f"planning for {waiting} requests, {name}")
        # A process of its own: what another count left behind would hide growth.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            figures[name] = pool.submit(count, waiting, slots, steps, seed).result() / MB
    measures = [
        at_most(f"{waiting} waiting, {slots} running: {name}, MB", figure, BAR_MB)
        for name, figure in figures.items()
    ]
    finish(measures, quick, json, figures)


def resident_growth(waiting: int, slots: int, steps: int, seed: int) -> int:
    """Bytes by which the resident set was larger at its peak than after a small plan."""
    _plan(10, 4, 3, seed)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts from here
    before = _peak()
    _plan(waiting, slots, steps, seed)
    return _peak() - before


def traced_peak(waiting: int, slots: int, steps: int, seed: int) -> int:
    """Most bytes that Python and numpy held at once, planner and requests included."""
    _plan(10, 4, 3, seed)
    tracemalloc.start()
    _plan(waiting, slots, steps, seed)
    return tracemalloc.get_traced_memory()[1]


def _peak() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    if found is None:
        raise SystemExit("error: /proc/self/status has no VmHWM: this needs Linux")
    return int(found[1]) * 1024


def _plan(waiting: int, slots: int, steps: int, seed: int) -> None:
    """Fill engine and queue, then plan, and plan again whenever one left and another came."""
    rng = np.random.default_rng(seed)
    chosen = settings(["predictor.kind=history"])
    planner = chosen.planner()
    limits = EngineLimits(slots, max(2048, slots), 16, 1_000_000)
    latency = chosen.latency()
    planner.warm_up(limits, latency)
    names = [_enter(planner, rng, i, chosen.slo_classes()) for i in range(waiting + slots)]
    for row in planner.table.live()[:slots].tolist():
        planner.table.admit(row)
    for step in range(steps):
        _wait_for_plan(planner, limits, latency)
        planner.remove(names.pop(int(rng.integers(slots, len(names)))))
        names.append(_enter(planner, rng, waiting + slots + step, chosen.slo_classes()))
    planner.close()


def _wait_for_plan(planner: Planner, limits: EngineLimits, latency: LinearLatency) -> None:
    """Ask for a plan of the newest state, and again until it is in force."""
    wanted = planner.plans + 1
    while planner.plans < wanted:
        planner.plan(perf_counter(), limits, latency)
        planner.hand_over()
        sleep(0.001)  # as a step would take


def _enter(planner: Planner, rng: np.random.Generator, i: int, classes: dict[str, SloClass]) -> str:
    kind, slo_class = ((CODE, "code"), (CONVERSATION, "chat"))[i % 2]
    prompt, arrival = int(kind.prompt.draw(rng, 1)[0]), perf_counter() - rng.random()
    planner.add(Request(f"r{i}", arrival, prompt, classes[slo_class].slo, slo_class))
    return f"r{i}"


if __name__ == "__main__":
    run(main)
