"""Traces on the command line, as requests."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from slosched.config.schema import Settings
    from slosched.core.request import TracedRequest

Traces = Annotated[
    list[Path],
    typer.Argument(help="Azure, BurstGPT, Mooncake, ShareGPT or our JSONL; told by content."),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Requests to take of each trace.")]


def requests(
    traces: Sequence[Path], settings: "Settings", limit: int | None, load: float, seed: int
) -> "list[TracedRequest]":
    """Read traces, merged by time, as requests of the configured classes."""
    from slosched.core.errors import TraceError
    from slosched.traces import read
    from slosched.traces.workload import build

    built = build(
        [read(path, limit) for path in traces],
        settings.slo_classes(),
        settings.tagger().default_class,
        rules=settings.workload.assign,
        arrivals=settings.workload.arrivals,
        load=load,
        seed=seed,
    )
    if not built:
        raise TraceError(f"{traces[0]}: holds no request")
    return built
