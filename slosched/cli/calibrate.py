"""`slosched calibrate`: measure a live engine, or read a table, and fit the latency model."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slosched.cli.common import Format, FormatOption, Quiet, Seed, Verbose, reported
from slosched.cli.url import check_url

if TYPE_CHECKING:
    from slosched.calibrate.live import Wanted

_QUICK_S = 30.0
_TABLE_BUDGET = 2048  # tokens of a step, where nobody says: the simulator's default


def calibrate(
    url: Annotated[
        str | None, typer.Argument(metavar="URL", help="Root of a vLLM server, without /v1.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the profile to this file.")
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Fit measured times of a CSV table, and no server."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Else the first of the server or table.")
    ] = None,
    hardware: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of the table; or for the record.")
    ] = None,
    tensor_parallel: Annotated[str | None, typer.Option(metavar="N", help="Of the table.")] = None,
    longest: Annotated[
        int | None,
        typer.Option(
            min=16,
            metavar="TOKENS",
            help="Prompts to measure up to; else half of what the model takes, 4096 at most.",
        ),
    ] = None,
    max_num_seqs: Annotated[
        int | None, typer.Option(min=1, help="The engine's; else it is measured.")
    ] = None,
    max_num_batched_tokens: Annotated[
        int | None, typer.Option(min=1, help="The engine's; else it is measured; of a table 2048.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=1, max=86_400, help="To stay within, about.")
    ] = 120.0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Half a minute, and a rougher fit.")
    ] = False,
    token_ids: Annotated[
        str | None, typer.Option(metavar="LOW-HIGH", help="Of prompts; else the server is asked.")
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="OPENAI_API_KEY", help="Sent as a bearer token.")
    ] = None,
    seed: Seed = 0,
    output_format: FormatOption = Format.table,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Measure how long an engine's steps take, and write a profile for `engine.profile`.

    The server should do nothing else meanwhile. A table needs the columns model, hardware,
    tensor_parallel, prompt_size, batch_size, token_size, prompt_time and token_time (ms).

    \b
    Examples:
      slosched calibrate http://127.0.0.1:8000 -o profile.yaml
      slosched calibrate http://127.0.0.1:8000 --longest 512 --quick -o profile.yaml
      slosched calibrate --table t.csv --model llama2-70b --tensor-parallel 8 -o profile.yaml
    """  # noqa: D301  (\b is typer's mark for lines that stay as they are)
    with reported(verbose, quiet):
        import orjson

        from slosched.calibrate.live import Wanted
        from slosched.calibrate.profile import to_yaml
        from slosched.cli import common
        from slosched.core.errors import ConfigError
        from slosched.report.files import check_folder, write
        from slosched.report.tables import cases_table, profile_table

        if (url is None) == (table is None):
            raise ConfigError("name either the URL of a server, or --table FILE")
        check_folder(output)
        if table is not None:
            names = {"model": model, "hardware": hardware, "tensor_parallel": tensor_parallel}
            result = _of_table(table, names, max_num_batched_tokens or _TABLE_BUDGET)
        else:
            check_url("URL", url or "")
            wanted = Wanted(
                url or "", model, api_key, longest, max_num_seqs, max_num_batched_tokens,
                token_ids, min(seconds, _QUICK_S) if quick else seconds, quick, seed,
            )  # fmt: skip
            result = _of_server(wanted, hardware, quiet)
        if output is not None:
            write(output, to_yaml(result["profile"]).encode())
        if output_format is Format.json:
            options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
            typer.echo(orjson.dumps(result, option=options).decode())
        else:
            common.show(cases_table(result["measurements"]))
            common.show(profile_table(result["profile"]))


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(calibrate)


def _of_server(wanted: "Wanted", hardware: str | None, quiet: bool) -> dict[str, Any]:
    import asyncio

    from rich.console import Console
    from rich.progress import Progress

    from slosched.calibrate import error, live, profile
    from slosched.report.date import today
    from slosched.version import __version__

    date = today()
    console = Console(stderr=True)
    silent = quiet or not console.is_terminal
    with Progress(console=console, transient=True, disable=silent) as progress:
        task = progress.add_task("", total=1.0)

        def told(what: str, share: float) -> None:
            if what and not quiet:
                console.print(what, highlight=False, soft_wrap=True)
            progress.update(task, completed=share)

        done = asyncio.run(live.calibrate(wanted, told))
    if not quiet:
        for name in ("max_num_seqs", "max_num_batched_tokens"):
            if name not in done.limits.known_from:
                option = f"--{name.replace('_', '-')}"
                typer.echo(f"note: {name} does not show from outside: give {option}", err=True)
    about = {
        "model": done.model.name,
        "hardware": hardware,
        "versions": {"slosched": __version__, done.model.owner or "server": done.model.version},
        "date": date,
        "source": (
            f"slosched calibrate, {done.passes} times in {done.seconds:.0f} s, "
            f"prompts up to {done.longest} tokens, seed {wanted.seed}"
        ),
    }
    errors = error.by_regime(done.fitted, done.observations)
    detail = None
    if done.detailed is not None:
        in_detail = error.by_regime(done.detailed, done.observations)
        detail = profile.detail(done.detailed, in_detail)
    return {
        "profile": profile.profile(done.fitted, errors, done.limits, about, detail=detail),
        "measurements": [asdict(case) for case in error.by_case(done.fitted, done.observations)],
    }


def _of_table(path: Path, names: dict[str, str | None], most: int) -> dict[str, Any]:
    from slosched.calibrate import error, profile, table
    from slosched.calibrate.fit import fit
    from slosched.calibrate.limits import Limits
    from slosched.version import __version__

    rows = table.choose(table.read_table(path), names, path)
    usual, larger = table.observations(rows, most)
    fitted = fit(usual)
    errors = error.by_regime(fitted, usual)
    if larger:
        errors["larger_prefill"] = error.sum_up(error.relative(fitted, larger))
    model, hardware, parallel = rows[0].names
    about = {
        "model": model,
        "hardware": hardware,
        "versions": {"slosched": __version__},
        "source": (
            f"{path.name}: {model}, {hardware}, tensor parallel {parallel}, "
            f"steps of up to {most} prompt tokens"
        ),
    }
    limits = Limits().known("given", max_num_batched_tokens=most)
    return {
        "profile": profile.profile(fitted, errors, limits, about, overhead=False),
        "measurements": [asdict(case) for case in error.by_case(fitted, [*usual, *larger])],
    }
