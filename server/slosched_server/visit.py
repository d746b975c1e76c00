"""One request's stay in the queue: it enters, is let in as what it is or as less, and waits."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from slosched.core.request import Request
from slosched.core.transcript import RecordedTranscript
from slosched.dispatch import Replica
from slosched_server.gate import Gate
from slosched_server.upstream import Job
from slosched_server.waiting_room import WaitingRoom


class Visit:
    """A request that is there until it is said to have left.

    Parameters
    ----------
    room, gate
        Where it waits, and who lets it in.
    job
        What it is about; of another class once it was downgraded.
    ids
        Fresh ids: one that is downgraded comes as another request.
    only
        Names of the replicas that may get it; None for all.

    Attributes
    ----------
    request_id
        The dispatcher knows it by this one now.
    """

    def __init__(
        self,
        room: WaitingRoom,
        gate: Gate,
        job: Job,
        ids: Iterator[int],
        only: AbstractSet[str] | None = None,
    ) -> None:
        self._room, self._gate, self._job, self._ids, self._only = room, gate, job, ids, only
        self.request_id = ""

    async def begin(self) -> None:
        """Let it in, as another class if need be; raise `RefusedError` if as none."""
        self._gate.check_bounds(self._job)
        self._job.trace.waits()
        self._enter()
        while self._gate.guards(self._job):
            if await self._gate.admits(self.request_id):
                self._room.let_in(self.request_id)
                return
            self._enter_as_less("it would be late, or make others late")

    async def bound(self) -> Replica:
        """Wait until it is bound, and return to whom; raise `RefusedError` if it waits in vain."""
        while True:
            replica = await self._room.bound(self.request_id, self._gate.patience(self._job))
            if replica is not None:
                return replica
            self._enter_as_less("it waited in vain for as long as it may")
            if self._gate.guards(self._job):
                self._room.let_in(self.request_id)

    def put_back(self) -> bool:
        """Let it wait again after its replica failed it, if another one may get it."""
        back = self._room.put_back(self.request_id)
        if back:
            self._job.trace.waits()
        return back

    def give_up(self, error: Exception) -> None:
        """Let it hear an error if it waits for a replica."""
        self._room.refuse(self.request_id, error)

    def end(self) -> None:
        """Let it leave, wherever it is."""
        self._room.leave(self.request_id)

    def _enter_as_less(self, why: str) -> None:
        self._gate.downgrade(self._job, why)
        self._room.leave(self.request_id)
        self._enter()

    def _enter(self) -> None:
        self.request_id = self._job.progress.queued_as = str(next(self._ids))
        held = self._gate.guards(self._job)
        self._room.enter(_request(self.request_id, self._job), held=held, only=self._only)


def _request(request_id: str, job: Job) -> Request:
    size, tag = job.size, job.tag
    transcript = None if size.prompt is None else RecordedTranscript(size.prompt, "", 0)
    return Request(
        request_id, job.progress.arrival, size.input_tokens, tag.slo, tag.slo_class, tag.tenant,
        size.max_tokens, prompt=size.prompt, transcript=transcript,
    )  # fmt: skip
