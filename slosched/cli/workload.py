"""Traces on the command line, as records and as requests."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from slosched.config.schema import Settings
    from slosched.core.request import TracedRequest
    from slosched.traces import TraceRecord

Traces = Annotated[
    list[Path],
    typer.Argument(help="Azure, BurstGPT, Mooncake, ShareGPT or our JSONL; told by content."),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Requests to take of each trace.")]
Jobs = Annotated[
    int, typer.Option(min=0, help="Processes that simulate side by side; 0 for one a core.")
]


def records(traces: Sequence[Path], limit: int | None) -> "list[list[TraceRecord]]":
    """Read traces; TraceError at the first line that is wrong, or if there is no request."""
    from slosched.core.errors import TraceError
    from slosched.traces import read

    found = [read(path, limit) for path in traces]
    if not any(found):
        raise TraceError(f"{traces[0]}: holds no request")
    return found


def requests(
    traces: Sequence[Path], settings: "Settings", limit: int | None, load: float, seed: int
) -> "list[TracedRequest]":
    """Read traces, merged by time, as requests of the configured classes."""
    from slosched.whatif.requests import requests as build

    return build(records(traces, limit), settings, load, seed)


def processes(jobs: int) -> int:
    """Say how many processes `--jobs` asks for."""
    import os

    return jobs or os.cpu_count() or 1


def check_output(output: Path | None, traces: Sequence[Path]) -> None:
    """Refuse a file for results that cannot be written, or would replace a trace."""
    from slosched.core.errors import ConfigError
    from slosched.report.files import check_folder

    check_folder(output)
    if output is not None and output.resolve() in [path.resolve() for path in traces]:
        raise ConfigError(f"--output {output} is one of the traces, and would replace it")
