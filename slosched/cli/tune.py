"""`slosched tune`: parameters that meet more SLOs, found by simulation."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slosched.cli.common import Config, Format, FormatOption, Quiet, Seed, Set, Verbose, reported
from slosched.cli.workload import Jobs, Limit, Traces

if TYPE_CHECKING:
    from slosched.whatif.study import Study
    from slosched.whatif.tuning import Comparison, Tuning
    from slosched.whatif.workers import Workers


def tune(
    traces: Traces,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="YAML: the configuration, tuned.")
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A.B=LOW..HIGH",
            help="What to search, with :log for orders of magnitude, or A.B=X,Y; as often as "
            "wanted; else what the policy has.",
        ),
    ] = None,
    config: Config = None,
    set_: Set = None,
    policy: Annotated[
        str | None, typer.Option(help="Tune this one, from its defaults.", metavar="NAME")
    ] = None,
    load: Annotated[
        list[float] | None,
        typer.Option(metavar="X", help="Times as fast as recorded; of several, the mean counts."),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="In all, the present values first.")] = 50,
    seconds: Annotated[
        float | None, typer.Option(min=0, help="Begin no trial after so long.")
    ] = None,
    train: Annotated[
        float,
        typer.Option(
            min=0.05, max=0.9, help="Share of the requests to search on; later ones judge."
        ),
    ] = 0.6,
    study: Annotated[
        Path | None, typer.Option(help="Keep trials in this file, and go on from those in it.")
    ] = None,
    limit: Limit = None,
    seed: Seed = 0,
    jobs: Jobs = 1,
    output_format: FormatOption = Format.table,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Search policy and solver parameters against simulated attainment.

    Attainment is by weight, on the first part of the trace. What is found is compared with the
    configuration as it is on the part that follows, which the search has not seen.

    \b
    Examples:
      slosched tune conv.csv --config slosched.yaml -o tuned.yaml --trials 100 --jobs 4
      slosched tune conv.csv --load 1 --load 2 --param policy.solver.cooling=0.7..0.99 \\
        --param policy.solver.acceptance=1e-6..0.5:log --param policy.preemption=true,false
    """  # noqa: D301  (\b is typer's mark for lines that stay as they are)
    with reported(verbose, quiet):
        import orjson

        from slosched.cli import common, workload
        from slosched.config.load import read
        from slosched.report.files import write
        from slosched.report.tuning import conclusions, outcome_table, parameters_table
        from slosched.whatif.default_space import space_of
        from slosched.whatif.dimension import loads
        from slosched.whatif.held_out import together
        from slosched.whatif.requests import requests
        from slosched.whatif.study import Study
        from slosched.whatif.tuned_file import tuned_text
        from slosched.whatif.tuning import Tuning
        from slosched.whatif.tuning_result import kept, made_with, provenance, tuning_result
        from slosched.whatif.workers import Workers

        settings, overrides = common.load(config, set_, policy)
        document = read(config, overrides)
        space, at_loads = space_of(param or [], document), loads(load or [])
        for path in (output, study):
            workload.check_output(path, traces)  # and whether its folder is there
        if output is not None:
            tuned_text(config, overrides, {}, [])  # what it lacks is told before hours of work
        records = together(workload.records(traces, limit))
        served = {x: requests(records, settings, x, seed) for x in at_loads}
        tuning = Tuning.on(document, space, served, train, seed)
        found = Study(space, seed, study, made_with(tuning))
        with Workers(workload.processes(jobs)) as workers:
            interrupted = _search(tuning, found, trials, seconds, workers, quiet)
            comparison = _compare(tuning, found, workers, quiet)
        result = {
            "trace": [str(path) for path in traces],
            "interrupted": interrupted,
            **tuning_result(tuning, found, comparison),
        }
        said = list(conclusions(result))
        if output is not None:
            head = provenance(result, said)
            write(output, tuned_text(config, overrides, kept(result), head).encode())
        if output_format is Format.json:
            typer.echo(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())
        else:
            common.show(parameters_table(result))
            common.show(outcome_table(result))
            typer.echo("\n".join(said))
        if interrupted:
            typer.echo(f"interrupted after {len(found.trials)} of {trials} trials", err=True)
            raise typer.Exit(130)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(tune)


def _search(
    tuning: "Tuning",
    study: "Study",
    trials: int,
    seconds: float | None,
    workers: "Workers",
    quiet: bool,
) -> bool:
    """Search, and say whether Ctrl-C ended it; what is done is kept."""
    from slosched.cli.progress import bar

    units = (trials - len(study.trials)) * sum(map(len, tuning.train.values()))
    try:
        with bar("the configuration as it is", quiet, max(units, 0)) as shown:
            for _ in tuning.search(study, trials, seconds, workers, shown.tick):
                best = f"best {100 * study.best.score:.1f}%, now {100 * study.trials[0].score:.1f}%"
                shown.say(f"{len(study.trials)} of {trials} trials, {best}")
    except KeyboardInterrupt:
        workers.stop()
        study.close()
        if not study.trials:
            raise
        return True
    return False


def _compare(
    tuning: "Tuning", study: "Study", workers: "Workers", quiet: bool
) -> "Comparison | None":
    """Judge the best trial, if there is one; another Ctrl-C does without."""
    from slosched.cli.progress import bar

    if not study.best.number:
        return None
    units = 2 * sum(map(len, tuning.held_out.values()))
    try:
        with bar("held-out part", quiet, units) as shown:
            return tuning.compare(study.best, workers, shown.tick)
    except KeyboardInterrupt:
        workers.stop()
        return None
