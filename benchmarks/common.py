"""What every benchmark shares: its options, its progress, its table of measures, its JSON."""

import os
import platform
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, TypeVar

import orjson
import typer
from rich.console import Console
from rich.progress import track as track_on_terminal

from slosched.core.errors import SloschedError
from slosched.report.files import write
from slosched.version import __version__

FOLDER = Path(__file__).parent
T = TypeVar("T")

Quick = Annotated[
    bool, typer.Option("--quick", help="Small settings: shows that it runs, misses no bar.")
]
Json = Annotated[Path | None, typer.Option("--json", help="Also write figures and details here.")]
Seed = Annotated[int, typer.Option(min=0, help="Of all random draws.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes that simulate side by side.")]

console = Console(stderr=True)


@dataclass(frozen=True)
class Measure:
    """A line of a benchmark's table.

    Parameters
    ----------
    name, figure
        What was measured, and what came out, with its unit.
    bar
        What it should be; empty where nothing is asked.
    met
        Whether it is; None where nothing is asked.
    """

    name: str
    figure: str
    bar: str = ""
    met: bool | None = None


def at_least(name: str, value: float, bar: float, form: str = "{:.1f}") -> Measure:
    """Measure something that should be large."""
    return Measure(name, form.format(value), f">= {form.format(bar)}", value >= bar)


def at_most(name: str, value: float, bar: float, form: str = "{:.1f}") -> Measure:
    """Measure something that should be small."""
    return Measure(name, form.format(value), f"<= {form.format(bar)}", value <= bar)


def track(items: Sequence[T], what: str) -> Iterator[T]:
    """Go through items, showing on stderr how far it is; without a terminal, ten lines in all."""
    if console.is_terminal:
        yield from track_on_terminal(items, what, console=console, transient=True)
        return
    told = 0
    for i, item in enumerate(items):
        yield item
        if (i + 1) * 10 // len(items) > told:
            told = (i + 1) * 10 // len(items)
            note(f"{what}: {i + 1} of {len(items)}")


def note(text: str) -> None:
    """Say something on stderr."""
    console.print(text, highlight=False, markup=False)


def finish(
    measures: Iterable[Measure],
    quick: bool,
    file: Path | None,
    details: object = None,
) -> None:
    """Print the table, write the JSON, and exit with 1 if a bar is missed by a full run."""
    measures = list(measures)
    if measures:
        print_table(measures)
    if file is not None:
        save(measures, file, details)
    if quick:
        note("quick settings: no figure says anything about its bar")
    elif any(measure.met is False for measure in measures):
        raise typer.Exit(1)


def save(measures: Sequence[Measure], file: Path, details: object) -> None:
    """Write measures and details as JSON, with what they depend on."""
    result = {
        "benchmark": Path(sys.argv[0]).stem,
        "arguments": sys.argv[1:],
        "measures": [asdict(measure) for measure in measures],
        "details": details,
        "version": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
    }
    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    write(file, orjson.dumps(result, option=options))


def run(main: Callable[..., None]) -> None:
    """Make a script of a function: its arguments are the options, its docstring is the help."""

    @wraps(main)
    def command(**options: object) -> None:
        try:
            main(**options)
        except SloschedError as error:
            note(f"error: {error}")
            raise typer.Exit(2) from error
        except KeyboardInterrupt:
            note("interrupted")
            raise typer.Exit(130) from None

    # Ended or interrupted, a script takes along what it has started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    app()


def print_table(measures: Sequence[Measure]) -> None:
    """Print measures on stdout."""
    words = {True: "yes", False: "NO", None: ""}
    rows = [(m.name, m.figure, m.bar, words[m.met]) for m in measures]
    print_columns([("measure", "figure", "bar", "met"), *rows])


def print_columns(rows: Sequence[Sequence[str]]) -> None:
    """Print rows of texts on stdout, the first of them as a heading, in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(" | ".join(cells).rstrip(" |"))
