"""The fewest replicas, or the highest load, that meet targets."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from slosched.whatif.bisection import smallest
from slosched.whatif.fleet import Probe


class Scale(Protocol):
    """Numbers from 1 on, what they stand for, and what is looked for."""

    @property
    def most(self) -> int:
        """The largest number."""
        ...

    @property
    def start(self) -> int:
        """The first to try."""
        ...

    def at(self, number: int) -> tuple[int, float]:
        """Return the replicas and the load that a number stands for."""
        ...

    def holds(self, meets: bool) -> bool:
        """Whether what is looked for the smallest number of is true, given if targets are met."""
        ...

    def answer(self, number: int | None) -> int | None:
        """Return the number that answers, given the smallest that holds; None if none does."""
        ...


@dataclass(frozen=True, slots=True)
class Replicas:
    """Numbers of replicas; looked for is the smallest that meets."""

    load: float
    most: int
    start: int = 1

    def at(self, number: int) -> tuple[int, float]:
        """Return so many replicas at that load."""
        return number, self.load

    def holds(self, meets: bool) -> bool:
        """Whether targets are met."""
        return meets

    def answer(self, number: int | None) -> int | None:
        """Return the smallest that meets."""
        return number


@dataclass(frozen=True, slots=True)
class Loads:
    """Multiples of a step of the load; looked for is the smallest that misses."""

    replicas: int
    step: float
    most: int

    @property
    def start(self) -> int:
        """About load 1."""
        return min(max(round(1 / self.step), 1), self.most)

    def at(self, number: int) -> tuple[int, float]:
        """Return the replicas at so many steps of load."""
        return self.replicas, round(number * self.step, 9)

    def holds(self, meets: bool) -> bool:
        """Whether targets are missed."""
        return not meets

    def answer(self, number: int | None) -> int | None:
        """Return the largest below which all meet; None if not even the smallest does."""
        return self.most if number is None else number - 1 or None


@dataclass(slots=True)
class Search:
    """A bisection and its neighbourhood.

    Parameters
    ----------
    probe
        Simulates so many replicas at such a load.
    probes
        What was asked so far, by number.
    answer
        The number that answers; None while there is none.
    at_bound
        Whether the answer is the last number, so that it may be beyond.
    finished
        Whether nothing is left to ask.
    """

    scale: Scale
    probe: Callable[[int, float], Probe]
    probes: dict[int, Probe] = field(default_factory=dict)
    answer: int | None = None
    at_bound: bool = False
    finished: bool = False

    def run(self) -> None:
        """Find the answer, then look at two numbers on each side of where it turns."""
        scale = self.scale
        found = smallest(self._holds, scale.most, scale.start)
        self.answer = scale.answer(found)
        self.at_bound = found is None and self.answer is not None
        turn = scale.most if found is None else found
        for number in range(turn - 2, turn + 2):
            if 1 <= number <= scale.most:
                self._holds(number)
        self.finished = True

    @property
    def uneven(self) -> list[tuple[Probe, Probe]]:
        """Pairs that contradict bisection: (meets, misses though it should be easier)."""
        numbers = sorted(self.probes)
        return [
            _meeting_first(self.probes[low], self.probes[high])
            for i, low in enumerate(numbers)
            for high in numbers[i + 1 :]
            if self._holds(low) and not self._holds(high)
        ]

    def _holds(self, number: int) -> bool:
        if number not in self.probes:
            self.probes[number] = self.probe(*self.scale.at(number))
        return self.scale.holds(self.probes[number].meets)


def _meeting_first(one: Probe, other: Probe) -> tuple[Probe, Probe]:
    return (one, other) if one.meets else (other, one)
