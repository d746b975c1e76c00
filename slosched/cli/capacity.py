"""`slosched plan-capacity`: how many replicas, or how much load, for given attainment."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slosched.cli.common import Config, Format, FormatOption, Quiet, Seed, Set, Verbose, reported
from slosched.cli.workload import Jobs, Limit, Traces
from slosched.whatif.choices import Find, Routing

if TYPE_CHECKING:
    from slosched.config.schema import Settings
    from slosched.whatif.capacity import Scale, Search
    from slosched.whatif.question import Question

EVERYBODY = "all=0.95"


def plan_capacity(
    traces: Traces,
    find: Annotated[
        Find, typer.Option(help="The fewest replicas at --load, or the highest load at --replicas.")
    ] = Find.replicas,
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS=SHARE",
            help=f"Share that has to meet its SLO, of a class or of `all`; else {EVERYBODY}.",
        ),
    ] = None,
    config: Config = None,
    set_: Set = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="As often as wanted, or `all`; else the configured one."),
    ] = None,
    load: Annotated[
        float | None, typer.Option(metavar="X", help="Times as fast as recorded; 1.")
    ] = None,
    replicas: Annotated[int | None, typer.Option(min=1, help="Engines; 1.")] = None,
    routing: Annotated[
        Routing, typer.Option(help="How requests come to replicas.")
    ] = Routing.least_work,
    max_replicas: Annotated[int, typer.Option(min=1, help="The most to try.")] = 64,
    max_load: Annotated[float, typer.Option(metavar="X", help="The highest to try.")] = 64.0,
    step: Annotated[float, typer.Option(metavar="X", help="Between two loads.")] = 0.05,
    limit: Limit = None,
    seed: Seed = 0,
    jobs: Jobs = 1,
    output_format: FormatOption = Format.table,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write the JSON to this file.")
    ] = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Find the fewest replicas, or the highest load, that meet given attainment.

    Requests are split over identical engines as they arrive, and each engine is simulated by
    itself. Exit code 1 if there is a policy under which the targets cannot be met.

    \b
    Examples:
      slosched plan-capacity conv.csv --target all=0.95 --policy fcfs --policy planned
      slosched plan-capacity conv.csv --config slosched.yaml --find load --replicas 4 \\
        --target interactive=0.99 --target batch=0.9 --jobs 4
    """  # noqa: D301  (\b is typer's mark for lines that stay as they are)
    with reported(verbose, quiet):
        import orjson

        from slosched.cli import common, workload
        from slosched.config.load import read
        from slosched.report.capacity import conclusions, probes_table
        from slosched.report.files import write
        from slosched.whatif.answer import answer
        from slosched.whatif.grid import policies
        from slosched.whatif.question import Question
        from slosched.whatif.target import parse

        scale = _scale(find, load, replicas, max_replicas, max_load, step)
        chosen = [s.offline(seed) for s in policies(read(config, set_ or []), policy or [])]
        targets = parse(target or [EVERYBODY], chosen[0].classes)
        workload.check_output(output, traces)
        records = workload.records(traces, limit)
        question = Question(find, scale, targets, routing, records, seed)
        idle = question.idle(chosen[0])
        wanted = [] if question.unreachable(idle) else chosen
        searches = _search(question, wanted, workload.processes(jobs), quiet)
        if wanted and not any(search.probes for _, search in searches):
            raise KeyboardInterrupt
        result = {
            "trace": [str(path) for path in traces],
            "profile": chosen[0].engine.profile,
            **answer(question, idle, searches),
        }
        text = orjson.dumps(result, option=orjson.OPT_INDENT_2)
        if output is not None:
            write(output, text)
        if output_format is Format.json:
            typer.echo(text.decode())
        else:
            common.show(probes_table(result))
            for line in conclusions(result):
                typer.echo(line)
        if len(searches) < len(wanted) or not all(search.finished for _, search in searches):
            typer.echo("interrupted", err=True)
            raise typer.Exit(130)
        if not searches or any(search.answer is None for _, search in searches):
            raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(plan_capacity)


def _scale(
    find: Find,
    load: float | None,
    replicas: int | None,
    max_replicas: int,
    max_load: float,
    step: float,
) -> "Scale":
    from slosched.core.errors import ConfigError
    from slosched.whatif.question import loads_scale, replicas_scale

    named = {Find.replicas: replicas, Find.load: load}[find]
    if named is not None:
        raise ConfigError(f"--{find.value} is what is looked for: leave it out, or use --find")
    if find is Find.replicas:
        return replicas_scale(load, max_replicas)
    return loads_scale(replicas, step, max_load)


def _search(
    question: "Question", policies: "list[Settings]", processes: int, quiet: bool
) -> "list[tuple[Settings, Search]]":
    """Search under each policy; after Ctrl-C, what was asked so far is kept."""
    from slosched.cli.progress import bar
    from slosched.whatif.workers import Workers

    requests = sum(map(len, question.records))
    searches: list[tuple[Settings, Search]] = []
    with (
        bar("", quiet) as shown,
        suppress(KeyboardInterrupt),  # what is done is not lost
        Workers(processes) as workers,
    ):
        for settings in policies:

            def told(replicas: int, load: float, kind: str = settings.policy.kind) -> None:
                shown.begin(f"{kind}, {replicas} replicas, load {load:g}", requests)

            search = question.search(settings, workers, told, shown.tick)
            searches.append((settings, search))
            search.run()
    return searches
