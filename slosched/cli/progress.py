"""How far the simulations are, on stderr while they run."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


@dataclass(frozen=True, slots=True)
class Bar:
    """A line on the terminal."""

    progress: "Progress"
    task: "TaskID"
    in_lines: bool = False

    def say(self, text: str) -> None:
        """Say what is being done."""
        self.progress.update(self.task, description=text)

    def begin(self, text: str, units: int) -> None:
        """Begin something else, with so many units to do."""
        self.progress.reset(self.task, total=units, description=text)
        if self.in_lines:
            self.progress.console.print(f"{text} ({units})", highlight=False, markup=False)

    def tick(self, more: int) -> None:
        """Move on by so many units."""
        self.progress.advance(self.task, more)


@contextmanager
def bar(text: str, quiet: bool, units: int | None = None, *, lines: bool = False) -> Iterator[Bar]:
    """Show a bar that goes away at the end; none at all where nobody looks.

    Parameters
    ----------
    text
        What is being done.
    units
        What there is to do, in units that the caller counts; None if that is not known yet.
    lines
        Whether there is a line for whatever begins where there is no terminal: work of hours.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(
        console=console, transient=True, disable=quiet or not console.is_terminal
    ) as progress:
        in_lines = lines and not quiet and not console.is_terminal
        yield Bar(progress, progress.add_task(text, total=units), in_lines)
