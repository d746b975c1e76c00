"""How far the simulations are, on stderr while they run."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, Task, TaskID

_TENTHS = 10


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
        before = self._tenths()
        self.progress.advance(self.task, more)
        if self.in_lines and before < self._tenths() < _TENTHS:
            of = self._of
            text = f"{of.description}: {of.completed:.0f} of {of.total:.0f}"
            self.progress.console.print(text, highlight=False, markup=False)

    @property
    def _of(self) -> "Task":
        return next(task for task in self.progress.tasks if task.id == self.task)

    def _tenths(self) -> int:
        of = self._of
        return int(_TENTHS * of.completed / of.total) if of.total else 0


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
        Whether there is a line for whatever begins, and for each tenth of it, where there is no
        terminal: work of hours.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(
        console=console, transient=True, disable=quiet or not console.is_terminal
    ) as progress:
        in_lines = lines and not quiet and not console.is_terminal
        yield Bar(progress, progress.add_task(text, total=units), in_lines)
