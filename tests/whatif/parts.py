"""Small traces and settings for what-ifs."""

from pathlib import Path

import numpy as np
import pytest

from slosched.config.document import Document
from slosched.config.yaml import load_yaml
from slosched.traces import TraceRecord

CLASSES = "classes: {chat: {ttft_ms: 1000}, batch: {e2e_ms: 30000}}\n"
MIXED = CLASSES + "workload: {assign: [{share: 0.3, class: batch}]}\n"


def document(text: str = MIXED) -> Document:
    """Read a configuration."""
    return load_yaml(text, "test.yaml")


def records(n: int = 40, gap: float = 0.1, seed: int = 5) -> list[TraceRecord]:
    """Draw requests of very different lengths, so many seconds apart in the mean."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.exponential(gap, n))
    prompts, answers = rng.lognormal(6, 1, n), rng.lognormal(3, 1, n)
    return [
        TraceRecord(str(i), float(times[i]), int(prompts[i]) + 1, int(answers[i]) + 1, "made")
        for i in range(n)
    ]


def trace_file(folder: Path, n: int = 40, gap: float = 0.1) -> Path:
    """Write the same requests as Azure's format has them."""
    path = folder / "made.csv"
    lines = ["TIMESTAMP,ContextTokens,GeneratedTokens"]
    for record in records(n, gap):
        minutes, seconds = divmod(record.time, 60)
        at = f"2023-11-16 18:{int(minutes):02}:{seconds:010.7f}"
        lines.append(f"{at},{record.input_tokens},{record.output_tokens}")
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def interrupted_after(monkeypatch: pytest.MonkeyPatch, runs: int) -> list[object]:
    """Let Ctrl-C come when so many simulations of this process are done; list those begun."""
    from slosched.sim.engine import SimulatedEngine

    begun: list[object] = []
    serve = SimulatedEngine.run

    def run(*arguments: object) -> object:
        if len(begun) == runs:
            raise KeyboardInterrupt
        begun.append(arguments)
        return serve(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(SimulatedEngine, "run", run)
    return begun
