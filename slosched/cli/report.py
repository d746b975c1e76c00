"""`slosched report`: results as one HTML file."""

from pathlib import Path
from typing import Annotated

import typer

from slosched.cli.common import Quiet, Verbose, reported


def report(
    results: Annotated[
        list[Path],
        typer.Argument(help="JSON of simulate -o or bench -o; the runs of all files are joined."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file to write.")],
    run: Annotated[
        str | None,
        typer.Option(
            metavar="POLICY@LOAD",
            help="Whose schedule is drawn; else the best policy's at the highest load.",
        ),
    ] = None,
    begin: Annotated[
        float | None,
        typer.Option("--from", metavar="SECONDS", help="Where the schedule's picture begins."),
    ] = None,
    length: Annotated[
        float | None, typer.Option("--for", metavar="SECONDS", help="How much of it is drawn.")
    ] = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Draw results: one HTML file with pictures and tables, that needs no other file.

    It has all its pictures where results hold per-request arrays: simulate --requests.

    \b
    Examples:
      slosched report runs.json -o report.html
      slosched report a.json b.json -o report.html --run planned@2 --from 120 --for 30
    """  # noqa: D301  (\b is typer's mark for lines that stay as they are)
    with reported(verbose, quiet):
        from rich.console import Console

        from slosched.core.errors import ConfigError
        from slosched.report.comparison import comparison
        from slosched.report.files import check_folder, write
        from slosched.report.read import read

        check_folder(output)
        if output.resolve() in [path.resolve() for path in results]:
            raise ConfigError(f"--output {output} is one of the results, and would replace it")
        console = Console(stderr=True, quiet=quiet)
        with console.status("reading results") as status:
            runs = read(results)
            status.update("drawing")
            page = comparison(runs, run, begin, length)
        write(output, page)
        typer.echo(f"{output}: {len(runs.runs)} runs, {len(page) / 1e6:.1f} MB")


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(report)
