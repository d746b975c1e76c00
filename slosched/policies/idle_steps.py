"""The guard of vllm-ltr (arXiv 2408.15792), which counts steps without work."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from slosched.core.snapshot import Snapshot
from slosched.core.types import IntArray, LiveArray
from slosched.policies.keys import by
from slosched.policies.score import score


@dataclass(frozen=True, slots=True)
class IdleSteps:
    """Send whoever had no work for many steps to the front, until it had its quantum of them.

    The rule of vllm-ltr's scheduler: a step without work adds 1 to `idle`, one with work sets it
    to 0; whose `idle` reaches the threshold is promoted and has a quantum, of which each step
    with work takes 1; at 0 it is demoted. The sort key is (priority, -score), so among the
    promoted the highest score goes first. Where s slots go to the first in that order at every
    step, a promoted request has work within (n - 1) * quantum / s steps, if that is less than
    `idle`; with more live requests n than that allows, low scores may wait for ever.

    Parameters
    ----------
    idle
        Steps without work after which a request is promoted.
    quantum
        Steps of work for which it stays promoted.
    """

    kind: Literal["idle_steps"] = "idle_steps"
    idle: int = 200
    quantum: int = 10

    def __post_init__(self) -> None:
        for name in ("idle", "quantum"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1 step, got {getattr(self, name)}")

    def tick(self, live: LiveArray, rows: IntArray) -> bool:
        """Count a step, in which those that run had work; say whether the promoted changed."""
        worked, quantum = live["running"][rows], live["quantum"][rows]
        idle = np.where(worked, 0, live["idle"][rows] + 1)
        was_promoted = quantum > 0
        quantum[worked & was_promoted] -= 1
        starved = idle >= self.idle
        idle[starved], quantum[starved] = 0, self.quantum
        live["idle"][rows], live["quantum"][rows] = idle, quantum
        return not np.array_equal(was_promoted, quantum > 0)

    def promoted(self, snapshot: Snapshot) -> IntArray:
        """Name those with some of their quantum left, the highest score first."""
        order = by(snapshot, -score(snapshot)).order
        return order[snapshot.live["quantum"][order] > 0]
