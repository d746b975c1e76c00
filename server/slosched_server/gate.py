"""The gate of the queue: who is let in, who is let in as another class, and who is refused."""

import time

from slosched_server.overload import Overload, RefusedError
from slosched_server.upstream import Job
from slosched_server.waiting_room import WaitingRoom


class Gate:
    """Holds requests to the bounds of the queue.

    Parameters
    ----------
    room
        Where they wait.
    overload
        The bounds; may be replaced.
    """

    def __init__(self, room: WaitingRoom, overload: Overload) -> None:
        self.overload = overload
        self._room = room

    def check_bounds(self, job: Job) -> None:
        """Raise `RefusedError` for a request that the queue has no room for."""
        bounds, dispatcher = self.overload, self._room.dispatcher
        if dispatcher.waiting >= bounds.max_waiting:
            raise self.refused(f"{bounds.max_waiting} requests wait already")
        tokens = dispatcher.waiting_tokens + job.size.input_tokens
        if dispatcher.waiting and tokens > bounds.max_waiting_tokens:
            raise self.refused(f"prompts of {bounds.max_waiting_tokens:g} tokens wait already")

    def guards(self, job: Job) -> bool:
        """Whether a request is of a class that is kept from being late."""
        return self.overload.guards(job.tag.slo_class)

    async def admits(self, request_id: str) -> bool:
        """Whether a request may stay as what it is: it is not late, and makes nobody late."""
        return await self._room.admits(request_id, self.overload.caution)

    def downgrade(self, job: Job, why: str) -> None:
        """Make a request one of the class that stands in for its own, or raise `RefusedError`."""
        instead = self.overload.downgrades.get(job.tag.slo_class)
        if instead is None:
            raise self.refused(why)
        job.downgrade(instead)

    def patience(self, job: Job) -> float:
        """Seconds that a request may wait yet: of a class that is guarded, not beyond its limits.

        Once it is late there, nobody waits for it any more.
        """
        seconds = self.overload.max_wait_s
        if self.guards(job):
            seconds = min(seconds, job.tag.slo.ttft, job.tag.slo.e2e)
        return job.progress.arrival + seconds - time.monotonic()

    def refused(self, why: str) -> RefusedError:
        """Say why there is no room, and when the last of those who wait will have begun."""
        now = time.monotonic()
        return RefusedError(f"overloaded: {why}", self._room.dispatcher.drained_at(now) - now)
