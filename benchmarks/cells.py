"""Cells of a comparison: one policy on one workload each, simulated once and kept."""

import signal
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from common import note, track
from sources import Source, capacity, settings

from slosched.core.errors import SloschedError
from slosched.core.types import FloatArray
from slosched.sim.summary import summarize
from slosched.traces.workload import Arrivals, Gamma, Poisson
from slosched.version import __version__

_KEPT = (
    "slo_attainment", "per_class", "mean_ttft_ms", "p99_ttft_ms", "mean_tpot_ms", "mean_e2el_ms",
    "p99_e2el_ms", "request_throughput", "request_goodput", "duration", "completed", "failed",
    "preemptions", "plans", "plan_failures",
)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One policy on one workload.

    Parameters
    ----------
    policy
        Its kind.
    source
        The requests.
    load
        Arrivals, in units of what the engine can serve; 0 for all at once.
    seed
        Assigns classes, draws arrivals and guesses at lengths, and is the solver's.
    overrides
        Settings as `--set` takes them.
    cv
        Of the gaps between arrivals; None for the trace's own, or Poisson's where it has none.
    """

    policy: str
    source: Source
    load: float
    seed: int = 0
    overrides: tuple[str, ...] = ()
    cv: float | None = None

    @property
    def key(self) -> str:
        """What the cell's result is kept under."""
        return orjson.dumps([__version__, asdict(self)], default=str).decode()

    def arrivals(self, rate: float) -> Arrivals | None:
        """Return the arrival process; None for what the trace has."""
        if self.cv is None:
            return None
        return Poisson(rate) if self.cv == 1 else Gamma(rate, self.cv)


def simulate(cell: Cell) -> dict[str, Any]:
    """Simulate a cell, and return its figures, and of each request what came of it."""
    rate = capacity(cell.source, cell.overrides) * cell.load if cell.load else None
    guesses = f"predictor.seed={cell.seed}"
    chosen = settings((*cell.overrides, guesses)).with_policy(cell.policy).offline(cell.seed)
    arrivals = cell.arrivals(rate) if rate else None
    trace = cell.source.requests(chosen, rate, cell.seed, arrivals)
    records = chosen.simulated_engine(trace).run(trace)
    figures = summarize(records)
    return {
        "policy": cell.policy,
        "trace": cell.source.name,
        "load": cell.load,
        "seed": cell.seed,
        "profile": chosen.engine.profile,
        "rate": rate,
        **{name: figures[name] for name in _KEPT},
        "met": "".join("01"[met] for met in records.attained.tolist()),
        "e2els_s": np.round(records.e2e, 4).tolist(),
        "output_lens": records.output_tokens.tolist(),
        "arrivals_s": np.round(records.arrival, 4).tolist(),
    }


def met(result: dict[str, str]) -> FloatArray:
    """Return 1 for each request of a result that kept its SLO, and 0 for the others."""
    return np.frombuffer(result["met"].encode(), dtype=np.uint8).astype(np.float64) - ord("0")


def run_all(cells: Sequence[Cell], kept: Path, workers: int) -> list[dict[str, Any]]:
    """Simulate cells side by side; those whose results are kept are not simulated again.

    Parameters
    ----------
    kept
        A line of JSON for each cell that is done; grows with each.

    Returns
    -------
    Results in the order of the cells.
    """
    done = _read(kept)
    left = [cell for cell in cells if cell.key not in done]
    if len(left) < len(cells):
        note(f"{len(cells) - len(left)} of {len(cells)} cells are in {kept} already")
    # Cells of one workload share its capacity, and its compiled code: they go to one process.
    with (
        kept.open("ab") as file,
        ProcessPoolExecutor(workers, get_context("spawn"), _ignore_ctrl_c) as pool,
    ):
        try:
            futures = {pool.submit(simulate, cell): cell for cell in left}
            finished = as_completed(futures)
            for _ in track(left, "cells"):
                future = next(finished)
                cell = futures[future]
                done[cell.key] = future.result()
                file.write(orjson.dumps([cell.key, done[cell.key]]) + b"\n")
                file.flush()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [done[cell.key] for cell in cells]


def _ignore_ctrl_c() -> None:
    """Leave it to the parent, which stops handing out cells."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _read(kept: Path) -> dict[str, dict[str, Any]]:
    if not kept.parent.is_dir():
        raise SloschedError(f"--kept {kept}: no such folder: {kept.parent}")
    if not kept.exists():
        return {}
    found = {}
    for line in kept.read_bytes().splitlines():
        try:
            key, result = orjson.loads(line)
        except (orjson.JSONDecodeError, ValueError):
            continue  # the run that wrote it was ended in the middle of the line
        found[key] = result
    return found
