"""The waiting queue whose order the scheduler sets."""

from collections.abc import Callable

from vllm.v1.core.sched.request_queue import FCFSRequestQueue
from vllm.v1.request import Request


class PlannedQueue(FCFSRequestQueue):
    """vLLM's first-come queue, brought into the plan's order before each step.

    Whatever vLLM puts back in front (a preempted request, one that it skipped) stays there
    until the next plan gives it a place.
    """

    def reorder(self, place: Callable[[Request], tuple[float, ...]]) -> None:
        """Sort by `place`, smallest first; equals keep their order."""
        ordered = sorted(self, key=place)
        self.clear()
        self.extend(ordered)
