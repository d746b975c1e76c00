"""The plan in force: for each replica who is to be sent there, in which order, and when."""

from collections.abc import Iterator, Mapping, Sequence
from math import inf

from slosched.dispatch.outlook import Outlook
from slosched.dispatch.replica import Replica


class Queues:
    """A queue for each replica, and behind them who came since the plan was made.

    Who is bound or gone may still be named here: whoever reads skips those.

    Attributes
    ----------
    newcomers
        Ids of those whom no plan knows yet, in the order in which they came.
    made_at
        Of when the state is that the plan was made for, s.
    """

    def __init__(self) -> None:
        self.newcomers: list[str] = []
        self.made_at = -inf
        self._of: dict[Replica, list[str]] = {}
        self._outlook: Outlook | None = None

    def replace(
        self,
        queues: Mapping[Replica, Sequence[str]],
        outlook: Outlook,
        made_at: float,
    ) -> None:
        """Put another plan in force.

        Parameters
        ----------
        queues
            Of each replica who waits for it, the first first.
        outlook
            When each request's first token and its last are expected, s.
        made_at
            Of when the state is that it was made for, s.
        """
        self._of = {replica: list(queue) for replica, queue in queues.items()}
        self._outlook, self.made_at = outlook, made_at
        planned = {name for queue in self._of.values() for name in queue}
        self.newcomers = [name for name in self.newcomers if name not in planned]

    def of(self, replica: Replica) -> list[str]:
        """Return the queue of a replica, to be changed by whoever binds."""
        return self._of.get(replica, [])

    def items(self) -> Iterator[tuple[Replica, list[str]]]:
        """Return each replica with its queue."""
        yield from self._of.items()

    def dissolve(self, replica: Replica) -> None:
        """Take a replica out of the plan; who waited for it comes anew."""
        self.newcomers += self._of.pop(replica, [])

    def outlook(self, request_id: str) -> tuple[float, float] | None:
        """When a request's first token and its last are expected, s; inf if not at all."""
        return None if self._outlook is None else self._outlook.get(request_id)

    def last_start(self, now: float) -> float:
        """When the plan begins with the last of those in its queues, s; `now` without any."""
        if self._outlook is None:
            return now
        firsts = (self._outlook.first(name) for queue in self._of.values() for name in queue)
        return max([now, *(first for first in firsts if first < inf)])
