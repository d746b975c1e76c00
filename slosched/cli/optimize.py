"""`slosched optimize`: plan a fixed set of requests once, with a proven bound."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slosched.cli.common import Config, Format, FormatOption, Quiet, Seed, Set, Verbose, reported
from slosched.cli.workload import Limit, Traces

if TYPE_CHECKING:
    from slosched.config.schema import Settings
    from slosched.core.protocols import Solver
    from slosched.sim.offline import OfflinePlan


def optimize(
    traces: Traces,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="JSONL, a line per request in order.")
    ] = None,
    solver: Annotated[
        str, typer.Option(metavar="NAME", help="anneal, slo_sa, cpsat or exhaustive.")
    ] = "anneal",
    bound_s: Annotated[
        float, typer.Option(min=0, help="Seconds to spend on the proven bound; 0 for none.")
    ] = 4.0,
    config: Config = None,
    set_: Set = None,
    limit: Limit = None,
    perfetto: Annotated[
        Path | None, typer.Option(help="Write the schedule as a trace for ui.perfetto.dev.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write an HTML page with the schedule's picture.")
    ] = None,
    seed: Seed = 0,
    output_format: FormatOption = Format.table,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Plan requests that are all there at once: who goes when, and which SLOs hold.

    Recorded arrival times are ignored, and lengths are the trace's own. The bound is proven with
    OR-Tools CP-SAT: no schedule that preempts nobody attains more.

    \b
    Examples:
      slosched optimize azure_2023_conv.csv --limit 200 -o plan.jsonl --report plan.html
      slosched optimize requests.jsonl --solver cpsat --format json
    """  # noqa: D301  (\b is typer's mark for lines that stay as they are)
    with reported(verbose, quiet):
        import orjson

        from slosched.cli import common, workload
        from slosched.core.errors import ConfigError
        from slosched.report.files import check_folder, write
        from slosched.report.tables import plan_table
        from slosched.sim.offline import plan_offline

        check_folder(output, perfetto, report)
        settings, _ = common.load(config, set_)
        trace = workload.requests(traces, settings, limit, 1.0, seed)
        try:
            plan = plan_offline(
                trace,
                settings.limits(),
                settings.latency(),
                settings.objective(),
                settings.solver(solver, seed),
                _bound(bound_s),
            )
        except ValueError as error:
            raise ConfigError(f"--solver {solver}: {error}") from error
        if output is not None:
            lines = (orjson.dumps(line) for line in plan.lines())
            write(output, b"".join(line + b"\n" for line in lines))
        if perfetto is not None:
            from slosched.report.perfetto import timeline

            write(perfetto, orjson.dumps(timeline(plan.lines())))
        result: dict[str, Any] = {**plan.summary(), "solver": solver}
        if report is not None:
            write(report, _page(plan, result, settings, traces, seed))
        if output_format is Format.json:
            typer.echo(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())
        else:
            common.show(plan_table(result))


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(optimize)


def _page(
    plan: "OfflinePlan",
    result: dict[str, Any],
    settings: "Settings",
    traces: Sequence[Path],
    seed: int,
) -> bytes:
    from slosched.config.schema import dump
    from slosched.report.plan import plan_page

    facts = [
        ("Traces", ", ".join(map(str, traces))),
        ("Profile", settings.engine.profile),
        ("Seed", str(seed)),
    ]
    return plan_page(result, plan.arrays(), facts, dump(settings))


def _bound(seconds: float) -> "Solver | None":
    from slosched_solvers.cpsat import CpSat

    return CpSat(time_limit_s=seconds) if seconds > 0 else None
