"""The replicas of a queue: which there are, and which of them get requests."""

from collections.abc import Sequence

import numpy as np

from slosched.core.fleet import NOWHERE
from slosched.core.types import IntArray
from slosched.dispatch.replica import Replica, State


class Roster:
    """All replicas that take part, by name."""

    def __init__(self) -> None:
        self._replicas: dict[str, Replica] = {}
        self._ready: tuple[Replica, ...] | None = None  # to be found anew
        self._added = 0  # ever

    def __getitem__(self, name: str) -> Replica:
        return self._replicas[name]

    def get(self, name: str) -> Replica | None:
        """Return a replica; None if there is none of that name."""
        return self._replicas.get(name)

    @property
    def all(self) -> Sequence[Replica]:
        """All that were added and not removed, in that order."""
        return tuple(self._replicas.values())

    @property
    def ready(self) -> Sequence[Replica]:
        """Those that get requests."""
        if self._ready is None:
            self._ready = tuple(r for r in self._replicas.values() if r.state == "ready")
        return self._ready

    def add(self, replica: Replica) -> None:
        """Enter a replica, and number it; ValueError if there is one of its name."""
        if replica.name in self._replicas:
            raise ValueError(f"replica {replica.name!r} is there already")
        self._replicas[replica.name] = replica
        replica.number = self._added
        self._added += 1
        self._ready = None

    def change(self, name: str, state: State) -> bool:
        """Note what has become of a replica; False if that is known."""
        replica = self._replicas[name]
        if replica.state == state:
            return False
        replica.state = state
        self._ready = None
        return True

    def remove(self, name: str) -> None:
        """Forget a replica."""
        del self._replicas[name]
        self._ready = None

    def places(self, numbers: IntArray) -> IntArray:
        """Tell which of those that are ready have some numbers, or NOWHERE, or beyond them all."""
        places = np.full(self._added + 1, len(self.ready), dtype=np.int64)
        places[[replica.number for replica in self.ready]] = np.arange(len(self.ready))
        places[NOWHERE] = NOWHERE  # which is the last
        return places[numbers]
