"""What all commands share: options, logs, and errors as one line with the right exit code."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from slosched.config.schema import Settings

Config = Annotated[Path | None, typer.Option("--config", help="YAML file with classes and policy.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Change one setting; as often as wanted."),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Log warnings and errors only.")]
Seed = Annotated[int, typer.Option(min=0, help="Of all random draws.")]


PIPE_WIDTH = 200


class Format(StrEnum):
    """How results are printed."""

    table = "table"
    json = "json"


FormatOption = Annotated[Format, typer.Option("--format", help="How results are printed.")]


def load(
    config: Path | None, overrides: Sequence[str] | None, policy: str | None = None
) -> tuple["Settings", list[str]]:
    """Read the configuration; return it, and the overrides that lead to it.

    A policy that is named by itself comes with its defaults, unless it is configured already.
    """
    from slosched.config import load as loader

    chosen = list(overrides or [])
    settings = loader.load(config, chosen)
    if policy is not None and settings.policy.kind != policy:
        settings.with_policy(policy)  # says what is wrong with the name, if anything
        chosen.append(f"policy={{kind: {policy}}}")
        settings = loader.load(config, chosen)
    return settings, chosen


def show(table: "Table") -> None:
    """Print a table on stdout; into a pipe or file, as wide as it wants to be."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPE_WIDTH)
    console.print(table)


@contextmanager
def reported(verbose: bool = False, quiet: bool = False) -> Iterator[None]:
    """Send logs to stderr, and end on an error with one line and its exit code.

    2 for wrong use or configuration, 1 for an engine that failed, 130 for Ctrl-C.
    """
    from slosched.core.errors import EngineError, SloschedError

    _log_to_stderr(verbose, quiet)
    try:
        yield
    except EngineError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    except SloschedError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        raise typer.Exit(130) from None
    except BrokenPipeError:
        # Whoever read our output has seen enough, as `head` has.
        sys.stderr.close()
        raise typer.Exit(0) from None


def _log_to_stderr(verbose: bool, quiet: bool) -> None:
    import logging

    import structlog

    level = logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            # Its own traceback would show the value of every variable: whole prompts.
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ],
    )
    # The HTTP server's own: it speaks when something is wrong, and of each request when asked to.
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING)
    logging.getLogger("uvicorn.access").setLevel(logging.INFO if verbose else logging.WARNING)
