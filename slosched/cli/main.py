"""The program `slosched`: it imports nothing heavy until a command runs."""

from typing import Annotated

import typer

from slosched.cli import (
    bench,
    calibrate,
    capacity,
    config,
    keys,
    optimize,
    picker,
    report,
    serve,
    simulate,
    simulated_engine,
    train,
    tune,
)
from slosched.version import __version__

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Serve every LLM request by the deadline that it asked for.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"slosched {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print it and end."),
    ] = False,
) -> None:
    pass


serve.register(app)
picker.register(app)
keys.register(app)
simulated_engine.register(app)
simulate.register(app)
optimize.register(app)
bench.register(app)
calibrate.register(app)
capacity.register(app)
tune.register(app)
train.register(app)
report.register(app)
config.register(app)

if __name__ == "__main__":
    app()
