"""The waiting queue whose order the scheduler sets."""

from typing import Any

from vllm.v1.core.sched.request_queue import FCFSRequestQueue
from vllm.v1.request import Request

from slosched.core.types import IntArray


class PlannedQueue(FCFSRequestQueue):
    """vLLM's first-come queue, brought into the plan's order before a step.

    Whatever vLLM puts back in front (a preempted request, one that it skipped) stays there
    until the scheduler sorts the queue.

    Attributes
    ----------
    disturbed
        Whether somebody was put in front since the queue was sorted last: what vLLM skips, it
        puts back where it was, but whom it preempts has a place in the plan.
    """

    def __init__(self, *args: Any) -> None:  # noqa: ANN401 - a deque's
        super().__init__(*args)
        self.disturbed = False

    def prepend_request(self, request: Request) -> None:
        """Put a request that lost its slot in front."""
        super().prepend_request(request)
        self.disturbed = True

    def sort(self, places: IntArray) -> None:
        """Sort by place, shape (len(self),), smallest first; equals keep their order."""
        requests = list(self)
        self.clear()
        self.extend([requests[i] for i in places.argsort(kind="stable").tolist()])
        self.disturbed = False
