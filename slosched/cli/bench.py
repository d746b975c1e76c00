"""`slosched bench`: replay a trace against a live server, and say which SLOs held."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from slosched.cli.common import Config, Format, FormatOption, Quiet, Seed, Set, Verbose, reported
from slosched.cli.url import check_url
from slosched.cli.workload import Limit, Traces

if TYPE_CHECKING:
    from slosched.bench.live import Run, Target
    from slosched.config.schema import Settings
    from slosched.core.request import TracedRequest

_INTERRUPTED = 130
_SLOW_CLIENT_MS = 100.0


def bench(
    url: Annotated[str, typer.Argument(metavar="URL", help="Root of the server, without /v1.")],
    traces: Traces,
    config: Config = None,
    set_: Set = None,
    load: Annotated[float, typer.Option(metavar="X", help="Times as fast as recorded.")] = 1.0,
    limit: Limit = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Else the first that the server has.")
    ] = None,
    endpoint: Annotated[
        Literal["completions", "chat"], typer.Option(help="Which of OpenAI's interfaces to use.")
    ] = "completions",
    natural: Annotated[
        bool, typer.Option("--natural", help="Let answers stop before the trace's length.")
    ] = False,
    no_tags: Annotated[
        bool, typer.Option("--no-tags", help="Send no SLO headers and no priorities.")
    ] = False,
    max_concurrency: Annotated[
        int | None, typer.Option(min=1, help="Requests in flight at most; else no bound.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(metavar="S", help="Seconds to wait for an answer; else forever.")
    ] = None,
    warm_up: Annotated[
        int, typer.Option(min=0, help="Short requests before the first that counts.")
    ] = 1,
    token_ids: Annotated[
        str | None,
        typer.Option(metavar="LOW-HIGH", help="Of made-up prompts; else the server is asked."),
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="OPENAI_API_KEY", help="Sent as a bearer token.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(metavar="NAME", help="What to call the server's policy.")
    ] = None,
    hardware: Annotated[
        str | None, typer.Option(metavar="NAME", help="What it runs on, for the record.")
    ] = None,
    fail_under: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Exit with 1 if weighted attainment is below."),
    ] = None,
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
    """Replay a trace against a live OpenAI-compatible server: open loop, with SLO headers.

    Requests go out at the trace's times, whatever the server does, and latencies count from these
    times. Prompts are the trace's own, or made up to have exactly as many tokens as it says;
    answers are as long as the trace's. Ctrl-C sums up what has come back.

    \b
    Examples:
      slosched bench http://127.0.0.1:8000 azure_2023_conv.csv --limit 500 --load 0.5
      slosched bench http://127.0.0.1:8000 conv.csv code.csv --config slosched.yaml -o run.json
      slosched bench http://127.0.0.1:8000 sharegpt.json --endpoint chat --fail-under 0.9
    """  # noqa: D301  (\b is typer's mark for lines that stay as they are)
    with reported(verbose, quiet):
        import orjson

        from slosched.bench.compose import Endpoint
        from slosched.bench.live import Target
        from slosched.bench.result import arrays, summarize
        from slosched.cli import common, workload
        from slosched.report.files import write
        from slosched.report.tables import runs_table

        _check(url, load, timeout)
        workload.check_output(output, traces)
        settings, _ = common.load(config, set_)
        trace = workload.requests(traces, settings, limit, load, seed)
        target = Target(
            url, model, api_key, Endpoint(endpoint), token_ids, natural, warm_up,
            max_concurrency, timeout,
        )  # fmt: skip
        done = _replay(target, trace, None if no_tags else settings, seed, quiet)
        result: dict[str, Any] = {
            "policy": label or done.policy or done.model.owner or "unknown",
            "load": load,
            "trace": [str(path) for path in traces],
            "seed": seed,
            "max_concurrency": max_concurrency,
            "endpoint": endpoint,
            "hardware": hardware,
            **_about(done),
            **summarize(trace, done.replay),
            "config": _workload_of(settings),
        }
        if requests:
            result |= arrays(trace, done.replay)
        text = orjson.dumps(result, option=orjson.OPT_INDENT_2)
        if output is not None:
            write(output, text)
        if output_format is Format.json:
            typer.echo(text.decode())
        else:
            common.show(runs_table([result]))
        _say_what_went_wrong(done, result, quiet)
        _judge(result, done.replay.interrupted, fail_under)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(bench)


def _check(url: str, load: float, timeout: float | None) -> None:
    from math import inf

    from slosched.core.errors import ConfigError

    check_url("URL", url)
    for option, value in (("--load", load), ("--timeout", timeout)):
        if value is not None and not 0 < value < inf:
            raise ConfigError(f"{option} must be greater than 0 and finite, got {value:g}")


def _replay(
    target: "Target",
    trace: "list[TracedRequest]",
    tagged_by: "Settings | None",
    seed: int,
    quiet: bool,
) -> "Run":
    import asyncio

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from slosched.bench.live import run
    from slosched.bench.tally import Tally

    console = Console(stderr=True)
    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    silent = quiet or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=silent) as progress:
        task = progress.add_task("asking the server", total=len(trace))

        def changed(tally: Tally) -> None:
            over = tally.done + tally.errors.total()
            progress.update(task, completed=over, description=tally.describe())

        classes = None if tagged_by is None else tagged_by.slo_classes()
        return asyncio.run(run(target, trace, classes, seed, changed))


def _about(done: "Run") -> dict[str, Any]:
    from slosched.report.date import today
    from slosched.version import __version__

    return {
        "model_id": done.model.name,
        "backend": done.model.owner,
        "backend_version": done.model.version,
        "version": __version__,
        "date": today(),
    }


def _workload_of(settings: "Settings") -> dict[str, Any]:
    """Return what of the configuration a replay goes by: the rest is the server's own."""
    from slosched.config.schema import dump

    plain = dump(settings)
    return {name: plain[name] for name in ("classes", "default_class", "workload")}


def _say_what_went_wrong(done: "Run", result: dict[str, Any], quiet: bool) -> None:
    from slosched.bench.result import complaints

    for kind, said in complaints(done.replay).items():
        typer.echo(f"{result['errors'][kind]} x {kind}: {said or 'no reason given'}", err=True)
    if done.replay.interrupted:
        left = result["unfinished"] + result["unsent"]
        typer.echo(f"interrupted: {left} of {result['num_prompts']} requests were left", err=True)
    if quiet:
        return
    lag = result["client_lag_ms"]["max"]
    if lag > _SLOW_CLIENT_MS:
        typer.echo(
            f"warning: this client came too late by up to {lag:.0f} ms, and measured that too: "
            "its machine is busy, or the load is too much for one client",
            err=True,
        )
    if result["uncounted"]:
        typer.echo(
            f"warning: the server does not count tokens in {result['uncounted']} answers: "
            "pieces were counted",
            err=True,
        )


def _judge(result: dict[str, Any], interrupted: bool, fail_under: float | None) -> None:
    """End with the right exit code: interrupted, nothing served, or too few SLOs met."""
    if interrupted:
        raise typer.Exit(_INTERRUPTED)
    if not result["completed"]:
        typer.echo("error: no request was served", err=True)
        raise typer.Exit(1)
    attained = result["weighted_attainment"]
    if fail_under is not None and attained < fail_under:
        typer.echo(f"failed: {attained:.3f} of SLOs met, --fail-under {fail_under:g}", err=True)
        raise typer.Exit(1)
