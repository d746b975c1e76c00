"""Each published system's own comparison with FCFS, next to the figure that its paper gives.

None of them can be repeated as published: models, engines, prompts and predictors differ, and
much is not stated. What is repeated is the shape of the workload, the policy, and what is
measured; lengths are guessed with the errors of SSJF's published predictions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cells import Cell
from common import print_columns
from sources import Source

from slosched.core.types import FloatArray

Result = dict[str, Any]
PROFILE = "engine.profile=h100-llama2-70b-tp8"
SEEDS = (0, 1, 2)
LOADS = (0.8, 1.2, 2.0)
CONTINUOUS = (PROFILE,)
ONE_BY_ONE = (PROFILE, "engine.max_num_seqs=1")
# Half of all ask for an end-to-end limit, half for TTFT and TPOT limits: paper 4's two kinds.
TWO_KINDS = (
    PROFILE,
    "classes={chat: {ttft_ms: 1000, tpot_ms: 100}, batch: {e2e_ms: 10000}}",
    "workload.assign=[{share: 0.5, class: batch}, {class: chat}]",
)


@dataclass(frozen=True)
class Setting:
    """A policy against FCFS on one kind of workload.

    Parameters
    ----------
    paper, what
        Whose, and what is compared.
    policy
        The paper's.
    overrides
        Settings as `--set` takes them.
    cv
        Of the gaps between arrivals.
    loads
        In units of what the engine can serve; 0 for all at once.
    published
        What the paper says.
    """

    paper: str
    what: str
    policy: str
    overrides: tuple[str, ...]
    cv: float
    loads: tuple[float, ...]
    published: str

    def cells(self, source: Source) -> Iterator[Cell]:
        """Yield FCFS and the policy at each load, by seed."""
        for x in self.loads:
            for seed in SEEDS:
                for kind in ("fcfs", self.policy):
                    yield Cell(kind, source, x, seed, self.overrides, self.cv)


SETTINGS = (
    Setting("1 ELIS", "job completion time", "isrtf", CONTINUOUS, 1.17, LOADS, "up to -19.6%"),
    Setting(
        "2 vllm-ltr", "latency a token", "ltr", CONTINUOUS, 1.0, LOADS, "1/2.8; up to 1/6.9"
    ),
    Setting("2 vllm-ltr", "throughput of a batch", "ltr", CONTINUOUS, 1.0, (0.0,), "x 6.5"),
    Setting(
        "3 SSJF, no batching", "job completion time", "ssjf", ONE_BY_ONE, 1.0, LOADS,
        "-30.5 to -39.6%",
    ),
    Setting(
        "3 SSJF, continuous batching", "job completion time", "ssjf", CONTINUOUS, 1.0, LOADS,
        "-30.5 to -39.6%",
    ),
    Setting(
        "3 SSJF, no batching", "throughput", "ssjf", ONE_BY_ONE, 1.0, LOADS, "x 2.2 to 3.6"
    ),
    Setting("4 SLO-aware", "SLO attainment", "slo_sa", TWO_KINDS, 1.0, LOADS, "up to x 5"),
    Setting("4 SLO-aware", "mean latency", "slo_sa", TWO_KINDS, 1.0, LOADS, "-31.6%"),
)  # fmt: skip


def cells(folder: Path | None, limit: int) -> Iterator[Cell]:
    """Yield what the comparisons need, each once; all on ShareGPT."""
    source = Source("sharegpt", folder, limit)
    yield from dict.fromkeys(cell for setting in SETTINGS for cell in setting.cells(source))


def show(results: Sequence[Result], wanted: Sequence[Cell]) -> None:
    """Print a table of the comparisons.

    Parameters
    ----------
    results, wanted
        Of the same length: what came of each of `cells`.
    """
    by_cell = dict(zip(wanted, results, strict=True))
    source = wanted[0].source
    rows = []
    for setting in SETTINGS:
        pairs = list(setting.cells(source))
        found = [
            ", ".join(_said(setting, [by_cell[c] for c in pairs if c.load == x]))
            for x in setting.loads
        ]
        at = ", ".join(f"{x:g}" if x else "all at once" for x in setting.loads)
        rows.append((setting.paper, setting.what, at, "; ".join(found), setting.published))
    heading = ("each paper against FCFS, ShareGPT", "measure", "at load", "here", "published")
    print_columns([heading, *rows])
    print()


def _said(setting: Setting, results: Sequence[Result]) -> Iterator[str]:
    """Compare the policy with FCFS over the seeds, in the paper's own terms."""
    fcfs = [r for r in results if r["policy"] == "fcfs"]
    theirs = [r for r in results if r["policy"] == setting.policy]
    pairs = list(zip(fcfs, theirs, strict=True))
    match setting.what:
        case "job completion time" | "mean latency":
            ratio = np.median([_latency(b) / _latency(a) for a, b in pairs])
            yield f"{100 * (ratio - 1):+.1f}%"
        case "latency a token":
            yield f"1/{np.median([_normalised(a) / _normalised(b) for a, b in pairs]):.2f}"
        case "SLO attainment":
            ours, base = (np.mean([r["slo_attainment"] for r in some]) for some in (theirs, fcfs))
            yield f"x {ours / base:.2f} ({100 * base:.1f} to {100 * ours:.1f}%)"
        case "throughput":
            yield f"x {np.median([_served(b) / _served(a) for a, b in pairs]):.2f}"
        case "throughput of a batch":
            yield f"x {np.median([_first_fifth(a) / _first_fifth(b) for a, b in pairs]):.2f}"


def _latency(result: Result) -> float:
    return float(result["mean_e2el_ms"])


def _normalised(result: Result) -> float:
    """Mean over requests of seconds per output token, vllm-ltr's measure."""
    return float(np.mean(_finishes(result) / np.array(result["output_lens"])))


def _served(result: Result) -> float:
    """Requests served while new ones kept coming."""
    arrived = np.array(result["arrivals_s"])
    return float((arrived + _finishes(result) <= result["arrivals_s"][-1]).sum())


def _first_fifth(result: Result) -> float:
    """Seconds until a fifth of a batch's answers are there."""
    return float(np.quantile(_finishes(result), 0.2))


def _finishes(result: Result) -> FloatArray:
    """Seconds from arrival to the last token."""
    return np.array(result["e2els_s"], dtype=np.float64)
