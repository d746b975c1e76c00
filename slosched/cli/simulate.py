"""`slosched simulate`: replay arrivals in virtual time under one or more policies."""

from contextlib import suppress
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slosched.cli.common import Config, Format, FormatOption, Quiet, Seed, Set, Verbose, reported
from slosched.cli.workload import Limit, Traces

if TYPE_CHECKING:
    from rich.progress import Progress

    from slosched.config.schema import Settings
    from slosched.core.request import TracedRequest

ALL = "all"


def simulate(
    traces: Traces,
    config: Config = None,
    set_: Set = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="As often as wanted, or `all`; else the configured one."),
    ] = None,
    load: Annotated[
        list[float] | None,
        typer.Option(metavar="X", help="Times as fast as recorded; as often as wanted."),
    ] = None,
    limit: Limit = None,
    seed: Seed = 0,
    output_format: FormatOption = Format.table,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write the JSON to this file.")
    ] = None,
    requests: Annotated[
        bool, typer.Option("--requests", help="Put per-request arrays into the JSON.")
    ] = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Replay a trace under one or more policies, a row each.

    Lengths are predicted as configured; `--set predictor.kind=oracle` makes them exact.

    \b
    Examples:
      slosched simulate azure_2023_conv.csv --policy all --load 1 --load 2 --limit 2000
      slosched simulate conv.csv code.csv --config slosched.yaml --format json > runs.json
    """  # noqa: D301  (\b is typer's mark for lines that stay as they are)
    with reported(verbose, quiet):
        import orjson
        from rich.console import Console
        from rich.progress import Progress

        from slosched.cli import common, workload
        from slosched.core.errors import ConfigError
        from slosched.report.files import check_folder, write
        from slosched.report.tables import runs_table

        settings, _ = common.load(config, set_)
        loads = _loads(load)
        kinds = _policies(policy, settings)
        check_folder(output)
        if output is not None and output.resolve() in [path.resolve() for path in traces]:
            raise ConfigError(f"--output {output} is one of the traces, and would replace it")
        runs: list[dict[str, Any]] = []
        wanted = len(loads) * len(kinds)
        console = Console(stderr=True)
        silent = quiet or not console.is_terminal
        with (
            Progress(console=console, transient=True, disable=silent) as progress,
            suppress(KeyboardInterrupt),  # what is done is not lost
        ):
            for x in loads:
                trace = workload.requests(traces, settings, limit, x, seed)
                for kind in kinds:
                    chosen = (settings.with_policy(kind) if kind else settings).offline(seed)
                    run = _run(chosen, trace, progress, x, requests)
                    run |= {"trace": [str(path) for path in traces], "load": x, "seed": seed}
                    runs.append(run)
        if not runs:
            raise KeyboardInterrupt
        # A line for each value of an array is nothing to read, and doubles the file.
        indent = 0 if requests else orjson.OPT_INDENT_2
        text = orjson.dumps({"runs": runs}, option=indent | orjson.OPT_SERIALIZE_NUMPY)
        if output is not None:
            write(output, text)
        if output_format is Format.json:
            typer.echo(text.decode())
        else:
            common.show(runs_table(runs))
        if len(runs) < wanted:
            typer.echo(f"interrupted: {len(runs)} of {wanted} runs were done", err=True)
            raise typer.Exit(130)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(simulate)


def _loads(named: list[float] | None) -> list[float]:
    from slosched.core.errors import ConfigError

    for x in named or []:
        if not 0 < x < inf:
            raise ConfigError(f"--load must be greater than 0 and finite, got {x:g}")
    return named or [1.0]


def _policies(named: list[str] | None, settings: "Settings") -> list[str]:
    from slosched.config.parts import POLICIES

    if not named:
        return [settings.policy.kind] if settings.policy.kind in POLICIES else [""]
    for kind in named:
        if kind != ALL:
            settings.with_policy(kind)  # a wrong name ends here, before anything runs
    return list(POLICIES) if ALL in named else list(dict.fromkeys(named))


def _run(
    settings: "Settings",
    trace: "list[TracedRequest]",
    progress: "Progress",
    load: float,
    per_request: bool,
) -> dict[str, Any]:
    from slosched.config.schema import dump
    from slosched.sim.summary import per_request_arrays, summarize
    from slosched.version import __version__

    kind = settings.policy.kind
    task = progress.add_task(f"{kind} at load {load:g}", total=len(trace))
    engine = settings.simulated_engine(trace)
    records = engine.run(trace, lambda done: progress.update(task, completed=done))
    progress.remove_task(task)
    run = {"policy": kind, "profile": settings.engine.profile, **summarize(records)}
    run |= {"version": __version__, "config": dump(settings)}
    return run | per_request_arrays(records) if per_request else run
