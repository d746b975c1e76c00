"""Where requests wait until the dispatcher binds them, and plans are made for them."""

import asyncio
import time
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor

import structlog

from slosched.core.request import Request
from slosched.dispatch import Dispatcher, Replica
from slosched_server.fleet_metrics import FleetMetrics

log = structlog.get_logger()


class WaitingRoom:
    """Lets requests wait; to be closed.

    Parameters
    ----------
    dispatcher
        Who goes where.
    plan_every_s
        Seconds from one plan to the next at least; may be changed.
    metrics
        Told of plans.
    """

    def __init__(self, dispatcher: Dispatcher, plan_every_s: float, metrics: FleetMetrics) -> None:
        self.dispatcher = dispatcher
        self.plan_every_s = plan_every_s
        self._metrics = metrics
        self._waiting: dict[str, asyncio.Future[Replica]] = {}
        self._planning: asyncio.Task[None] | None = None
        self._solver = ThreadPoolExecutor(1, "slosched-fleet-plan")
        self._gate = ThreadPoolExecutor(1, "slosched-fleet-gate")

    def enter(
        self, request: Request, *, held: bool = False, only: AbstractSet[str] | None = None
    ) -> None:
        """Let a request wait; it may be bound at once, unless it is held until it is let in."""
        self.dispatcher.submit(request, held=held, only=only)
        self._wait(request.request_id)

    def let_in(self, request_id: str) -> None:
        """Let a request in that was held."""
        self.dispatcher.admit(request_id)
        self.pump()

    def put_back(self, request_id: str) -> bool:
        """Let a request wait again whose replica failed it, if another one may get it."""
        back = len(self.dispatcher.replicas) > 1 and self.dispatcher.put_back(request_id)
        if back:
            self._wait(request_id)
        return back

    def leave(self, request_id: str) -> None:
        """Forget a request, wherever it is."""
        future = self._waiting.pop(request_id, None)
        if future is not None and future.done():
            future.exception()  # else it would be reported that nobody has asked for it
        self.dispatcher.on_end(request_id)
        self.pump()

    def refuse(self, request_id: str, error: Exception) -> None:
        """Let a request hear an error in place of a replica, if it waits."""
        future = self._waiting.get(request_id)
        if future is not None and not future.done():
            future.set_exception(error)

    def turn_away(self, error: Exception) -> int:
        """Let all who wait hear an error in place of a replica; return how many these are."""
        there = [future for future in self._waiting.values() if not future.done()]
        for future in there:
            future.set_exception(error)
        return len(there)

    async def bound(self, request_id: str, seconds: float) -> Replica | None:
        """Wait until a request is bound, and return to whom; None if it is not by then.

        Raises what `turn_away` was given.
        """
        future = self._waiting[request_id]
        if not future.done():
            await asyncio.wait([future], timeout=max(seconds, 0.0))
        return future.result() if future.done() else None

    async def admits(self, request_id: str, caution: float) -> bool:
        """Whether a request is to be let in; see `AdmissionJob`."""
        asked = self.dispatcher.admission(request_id, time.monotonic(), caution)
        if asked is None:
            return True
        # Not behind a plan that is being made: whoever is refused is to hear of it at once.
        return await asyncio.get_running_loop().run_in_executor(self._gate, asked.admits)

    def pump(self) -> None:
        """Send whoever may go, and let a plan be made if there is anything new to plan."""
        self._release()
        if self.dispatcher.wants_plan and self._planning is None:
            self._planning = asyncio.create_task(self._plan())
            self._planning.add_done_callback(self._planned)

    async def close(self) -> None:
        """Let plans and predictions end."""
        if self._planning is not None:
            self._planning.cancel()
            await asyncio.gather(self._planning, return_exceptions=True)
        for executor in (self._solver, self._gate):
            executor.shutdown(wait=False, cancel_futures=True)
        self.dispatcher.close()

    def _wait(self, request_id: str) -> None:
        self._waiting[request_id] = asyncio.get_running_loop().create_future()
        self.pump()

    async def _plan(self) -> None:
        job = self.dispatcher.job(time.monotonic())
        solved = await asyncio.get_running_loop().run_in_executor(self._solver, job.solve)
        self.dispatcher.take(solved)
        self._metrics.planned(solved)
        for mishap in self.dispatcher.take_mishaps():
            self._metrics.failed()
            log.warning(mishap.event, part=type(mishap.part).__name__, reason=str(mishap.error))
        self._release()
        await asyncio.sleep(max(self.plan_every_s - solved.seconds, 0.0))

    def _planned(self, task: asyncio.Task[None]) -> None:
        self._planning = None
        if not task.cancelled():
            if (error := task.exception()) is not None:
                self._metrics.failed()
                log.error("planning failed", reason=str(error))
            self.pump()

    def _release(self) -> None:
        for binding in self.dispatcher.release():
            future = self._waiting.get(binding.request_id)
            if future is not None and not future.done():
                future.set_result(binding.replica)
