"""`slosched simulate`: replay arrivals in virtual time, over a grid of what-ifs."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slosched.cli.common import Config, Format, FormatOption, Quiet, Seed, Set, Verbose, reported
from slosched.cli.workload import Jobs, Limit, Traces
from slosched.whatif.choices import PlanTime, Sharing

if TYPE_CHECKING:
    from slosched.whatif.grid import Cell, Grid

MANY = 20  # runs, from which on their number is said before they begin


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
    grid: Annotated[
        list[str] | None,
        typer.Option(metavar="A.B=C,D", help="Try these values of a setting; as often as wanted."),
    ] = None,
    replicas: Annotated[
        list[int] | None,
        typer.Option(metavar="N", help="Engines behind one queue; as often as wanted."),
    ] = None,
    assignment: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Who of them gets a request; as often as wanted, else configured."
        ),
    ] = None,
    shards: Annotated[
        list[int] | None,
        typer.Option(metavar="K", help="Queues that share the engines; as often as wanted."),
    ] = None,
    sharing: Annotated[
        Sharing, typer.Option(help="Which of several queues gets a request.")
    ] = Sharing.hash,
    plan_time: Annotated[
        PlanTime,
        typer.Option(
            help="A queue's plans take what their budget says, or what they take on this machine: "
            "no two runs are alike then."
        ),
    ] = PlanTime.budget,
    limit: Limit = None,
    seed: Seed = 0,
    jobs: Jobs = 1,
    output_format: FormatOption = Format.table,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write the JSON to this file.")
    ] = None,
    requests: Annotated[
        bool, typer.Option("--requests", help="Put per-request arrays into the JSON.")
    ] = False,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream",
            help="Read, serve and sum up request by request, for traces larger than memory: "
            "percentiles within 0.25%, no per-request arrays.",
        ),
    ] = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Replay a trace under one or more policies, a row each.

    Loads, policies and the values of --grid are combined, each with each; `whatif.grid` in the
    configuration does the same. Lengths are predicted as configured; `--set predictor.kind=oracle`
    makes them exact. With --replicas there are as many engines of this kind, behind the queue that
    `slosched gateway` and `slosched picker` have, by the section `fleet`.

    \b
    Examples:
      slosched simulate azure_2023_conv.csv --policy all --load 1 --load 2 --limit 2000
      slosched simulate conv.csv code.csv --config slosched.yaml --format json > runs.json
      slosched simulate conv.csv --policy fcfs --policy planned --jobs 2 \\
        --grid engine.max_num_seqs=16,32,64 --grid engine.num_kv_blocks=20000,50000
      slosched simulate a_year.jsonl --stream --policy fcfs
      slosched simulate conv.csv --load 50 --set engine.scheduler=vllm-fcfs --replicas 50 \\
        --assignment planned --assignment fewest_outstanding --shards 1 --shards 5
    """  # noqa: D301  (\b is typer's mark for lines that stay as they are)
    with reported(verbose, quiet):
        import orjson

        from slosched.cli import common, workload
        from slosched.core.errors import ConfigError
        from slosched.report.files import write
        from slosched.report.tables import runs_table
        from slosched.whatif.queue import offline as settings
        from slosched.whatif.streaming import Stream
        from slosched.whatif.streaming import simulate as simulate_stream
        from slosched.whatif.task import Run
        from slosched.whatif.task import simulate as simulate_run

        asked: dict[str, Sequence[object] | None] = {
            "load": load,
            "replicas": replicas,
            "shards": shards,
            "fleet.assignment": _kinds(assignment),
            "policy": policy,
        }
        cells = _cells(_grid(config, set_, asked, grid), workload.processes(jobs), quiet)
        measured = plan_time == PlanTime.measured
        queued = [cell.queued(sharing.value, measured=measured) for cell in cells]
        workload.check_output(output, traces)
        if stream and requests:
            raise ConfigError(
                "--stream keeps no requests: leave one of --stream and --requests out"
            )
        if stream and any(queued):
            raise ConfigError(
                "--stream is for one engine: leave one of --stream and --replicas out"
            )
        labels = {"trace": [str(path) for path in traces], "seed": seed}
        of_cells = [(cell, {**labels, "load": cell.load, "cell": cell.values}) for cell in cells]
        tasks: list[Any]
        if stream:
            tasks = [
                Stream(cell.settings.offline(seed), traces, limit, cell.load, seed, own)
                for cell, own in of_cells
            ]
            runs = _run(simulate_stream, tasks, None, workload.processes(jobs), quiet)
        else:
            records = workload.records(traces, limit)
            tasks = [
                Run(settings(cell.settings, seed, of), records, cell.load, seed, requests, own, of)
                for (cell, own), of in zip(of_cells, queued, strict=True)
            ]
            units = len(tasks) * sum(map(len, records))
            runs = _run(simulate_run, tasks, units, workload.processes(jobs), quiet)
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
        if len(runs) < len(tasks):
            typer.echo(f"interrupted: {len(runs)} of {len(tasks)} runs were done", err=True)
            raise typer.Exit(130)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(simulate)


def _grid(
    config: Path | None,
    overrides: Sequence[str] | None,
    asked: Mapping[str, Sequence[object] | None],
    options: Sequence[str] | None,
) -> "Grid":
    from slosched.config.load import read
    from slosched.whatif.dimension import dimension, from_option
    from slosched.whatif.grid import grid

    found = [from_option(option) for option in options or []]
    for path, values in asked.items():
        if values:
            found.append(dimension(path, values, f"--{path.rpartition('.')[2]}"))
    return grid(read(config, overrides or []), found)


def _kinds(names: Sequence[str] | None) -> list[dict[str, str]]:
    return [{"kind": name} for name in names or []]


def _cells(grid: "Grid", processes: int, quiet: bool) -> "list[Cell]":
    if len(grid) >= MANY and not quiet:
        of = " x ".join(f"{len(d.values)} {d.path}" for d in grid.dimensions if len(d.values) > 1)
        how = f"{processes} at a time" if processes > 1 else "one by one; see --jobs"
        typer.echo(f"{len(grid)} runs ({of}), {how}", err=True)
    return grid.cells()


def _run(
    run: Callable[..., dict[str, Any]],
    tasks: Sequence[Any],
    units: int | None,
    processes: int,
    quiet: bool,
) -> list[dict[str, Any]]:
    """Return the results, in the order of the tasks; after Ctrl-C those that are there."""
    from slosched.cli.progress import bar
    from slosched.whatif.workers import Workers

    done: dict[int, dict[str, Any]] = {}
    with (
        bar(f"{len(tasks)} runs", quiet, units) as shown,
        suppress(KeyboardInterrupt),  # what is done is not lost
        Workers(processes) as workers,
    ):
        for i, result in workers.as_done(run, tasks, shown.tick):
            done[i] = result
            shown.say(f"{len(done)} of {len(tasks)} runs")
    return [done[i] for i in sorted(done)]
