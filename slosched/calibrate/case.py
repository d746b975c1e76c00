"""What is measured: each case is some requests, and the observations that come of them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from slosched.calibrate import steps
from slosched.calibrate.observation import Observation
from slosched.calibrate.probe import PAUSE_S, Flight, Probe
from slosched.core.latency import LinearLatency

PHASE = 2 * steps.BLOCK + 2 * steps.MARGIN  # steps at each number of sequences
_SETTLED = 4  # tokens of each sequence before a prompt joins them
UNKNOWN = 1 << 20  # tokens of a step, where that is not known: a prompt needs one at least


class Case(Protocol):
    """One measurement."""

    def seconds(self, rough: LinearLatency, most: int) -> float:
        """Estimate how long it takes, `most` tokens a step."""
        ...

    def reach(self, most: int) -> int:
        """Say how many tokens its longest sequence comes to, with prompt and answer."""
        ...

    async def measure(self, probe: Probe, most: int | None) -> list[Observation]:
        """Take it; `most` tokens a step if that is known."""
        ...


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt alone: time to first token."""

    tokens: int

    def seconds(self, rough: LinearLatency, most: int) -> float:
        """Estimate how long it takes."""
        return rough.prompt_alone(self.tokens, most) + PAUSE_S

    def reach(self, most: int) -> int:  # noqa: ARG002 - as others need it
        """Say how many tokens it comes to."""
        return self.tokens + 1

    async def measure(self, probe: Probe, most: int | None) -> list[Observation]:
        """Send it, and wait for its one token."""
        flight = probe.send(self.tokens, 1)
        await probe.finish([flight])
        await asyncio.sleep(PAUSE_S)
        return [steps.prefill(flight.stream, most)]


@dataclass(frozen=True, slots=True)
class Staircase:
    """Prompts sent together, that decode together and end half by half: from many to one.

    One setup shows steps at every number of sequences, and the burst at its begin.
    """

    sequences: int
    context: int

    @property
    def levels(self) -> list[int]:
        """Numbers of sequences that decode together, falling."""
        return [n for n in (self.sequences >> k for k in range(32)) if n]

    @property
    def what(self) -> str:
        """Name the contexts."""
        return f"{self.context} tokens"

    def seconds(self, rough: LinearLatency, most: int) -> float:
        """Estimate how long it takes."""
        tokens = self.sequences * self.context
        decoding = sum(rough.step(0, n, n * self.context) for n in self.levels)
        return rough.prompt_alone(tokens, most) + PHASE * decoding + PAUSE_S

    def reach(self, most: int) -> int:
        """Say how many tokens its longest sequence comes to."""
        return self.context + max(self.lengths(most))

    def lengths(self, most: int) -> list[int]:
        """Say how many tokens each sequence, in the order of sending, is to have.

        Those that start later need fewer to end at the same step.
        """
        starts = [-(-(i + 1) * self.context // most) for i in range(self.sequences)]
        phases = [sum(n > i for n in self.levels) for i in range(self.sequences)]
        ends = [starts[-1] + PHASE * n for n in phases]
        return [end - start + 1 for start, end in zip(starts, ends, strict=True)]

    async def measure(self, probe: Probe, most: int | None) -> list[Observation]:
        """Send all, and wait for all."""
        lengths = self.lengths(most or UNKNOWN)
        flights = [probe.send(self.context, n) for n in lengths]
        await probe.finish(flights)
        await asyncio.sleep(PAUSE_S)
        streams = [flight.stream for flight in flights]
        found = steps.decode(streams, self.what)
        if self.sequences > 1:
            what = f"{self.sequences} x {self.what}"
            found.append(steps.burst(streams, what, most))
        return found


@dataclass(frozen=True, slots=True)
class Visit:
    """Prompts that come one after the other while some sequences decode."""

    sequences: int
    context: int
    prompts: tuple[int, ...]

    def seconds(self, rough: LinearLatency, most: int) -> float:
        """Estimate how long it takes."""
        tokens = self.sequences * self.context + sum(self.prompts)
        stepping = rough.step(0, self.sequences, self.sequences * self.context)
        stretch = (1 + len(self.prompts)) * 2 * _SETTLED
        return rough.prompt_alone(tokens, most) + stretch * stepping + PAUSE_S

    def reach(self, most: int) -> int:
        """Say how many tokens its longest sequence comes to."""
        return max(self.context + self._longest(most), max(self.prompts) + 1)

    async def measure(self, probe: Probe, most: int | None) -> list[Observation]:
        """Let the sequences decode, send one prompt after the other, and hang up."""
        length = self._longest(most or UNKNOWN)
        flights = [probe.send(self.context, length) for _ in range(self.sequences)]
        await probe.until(flights, _SETTLED)
        visits = [await self._visit(probe, flights, prompt) for prompt in self.prompts]
        await probe.hang_up()
        streams = [flight.stream for flight in flights]
        found = []
        for visit in visits:
            what = f"{visit.prompt} tokens beside {self.sequences} x {self.context}"
            observation = steps.mixed(streams, visit.stream, what, most)
            if observation is not None:
                found.append(observation)
        return found

    async def _visit(self, probe: Probe, flights: Sequence[Flight], prompt: int) -> Flight:
        visit = probe.send(prompt, 1)
        await probe.finish([visit])
        await probe.until(flights, max(f.answer.tokens for f in flights) + _SETTLED)
        return visit

    def _longest(self, most: int) -> int:
        """Tokens that are enough for every sequence to decode all the while."""
        chunks = -(-(self.sequences * self.context + sum(self.prompts)) // most)
        # Twice what is needed: how long steps are, and who comes first, is only known later.
        return 2 * (chunks + (1 + len(self.prompts)) * 2 * _SETTLED + self.sequences)
