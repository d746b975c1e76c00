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
    from structlog.typing import Processor

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


class LogFormat(StrEnum):
    """How logs are written."""

    text = "text"
    json = "json"


LogFormatOption = Annotated[
    LogFormat, typer.Option("--log-format", help="How logs are written to stderr.")
]


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
def reported(
    verbose: bool = False, quiet: bool = False, log_format: LogFormat = LogFormat.text
) -> Iterator[None]:
    """Send logs to stderr, and end on an error with one line and its exit code.

    2 for wrong use or configuration, 1 for an engine that failed, 130 for Ctrl-C.
    """
    from slosched.core.errors import EngineError, SloschedError

    _log_to_stderr(verbose, quiet, log_format)
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


def _log_to_stderr(verbose: bool, quiet: bool, log_format: LogFormat) -> None:
    import logging

    import structlog

    level = logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO
    first, last = _json() if log_format is LogFormat.json else _text()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        processors=[*first, last],
    )
    # The HTTP server's own: it speaks when something is wrong, and of each request when asked to.
    handler = logging.StreamHandler(sys.stderr)
    if log_format is LogFormat.json:
        handler.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                foreign_pre_chain=first,
                processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
            )
        )
    logging.basicConfig(handlers=[handler], format="%(message)s", level=logging.WARNING)
    logging.getLogger("uvicorn.access").setLevel(logging.INFO if verbose else logging.WARNING)


def _text() -> tuple[list["Processor"], "Processor"]:
    """Return what makes lines for people."""
    import structlog

    # Its own traceback would show the value of every variable: whole prompts.
    plain = structlog.dev.plain_traceback
    last = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
    stamp = structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)
    return [structlog.processors.add_log_level, stamp], last


def _json() -> tuple[list["Processor"], "Processor"]:
    """Return what makes a JSON object of each line, with the time in UTC."""
    import structlog

    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    # Tracebacks as text: those as objects would show the value of every variable, too.
    text = structlog.processors.format_exc_info
    first: list[Processor] = [structlog.processors.add_log_level, stamp, text]
    return first, structlog.processors.JSONRenderer()
