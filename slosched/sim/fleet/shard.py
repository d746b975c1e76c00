"""One queue and its engines in virtual time: the front end's cadence without its sockets."""

from collections.abc import Iterator, Mapping
from math import inf
from time import perf_counter

from slosched.core.request import TracedRequest
from slosched.dispatch import Dispatcher, FleetSolved
from slosched.sim.engine import SimulatedEngine
from slosched.sim.fleet.engines import Engines
from slosched.sim.fleet.figures import Figures
from slosched.sim.fleet.pace import Pace
from slosched.sim.online import Said


class Shard:
    """Does with a queue what the front end does, whenever it is its time.

    A plan is begun when there is something new to plan, `plan_every_s` after the one before at the
    earliest; it is for the state of that moment, and in force when it is done.

    Parameters
    ----------
    dispatcher
        Fresh, with its replicas.
    engines
        Fresh, by the names of these.

    Attributes
    ----------
    live
        Requests that are here, wherever they are.
    sent
        Ids in the order in which they were sent, and where to.
    """

    def __init__(
        self, dispatcher: Dispatcher, engines: Mapping[str, SimulatedEngine], pace: Pace
    ) -> None:
        self.dispatcher, self.figures = dispatcher, Figures()
        self.engines = Engines(engines)
        self.live = 0
        self.sent: list[tuple[str, str]] = []
        self._pace = pace
        self._of: dict[str, TracedRequest] = {}
        self._solving: tuple[float, FleetSolved] | None = None
        self._begun_at = self._made_at = self._free_at = -inf
        self._take_s = 0.0  # that the newest plan took to be put in force

    @property
    def replicas(self) -> int:
        """How many engines there are."""
        return len(self.engines.simulated)

    @property
    def next_at(self) -> float:
        """When something is to be done without anybody coming, s; inf if nothing is."""
        if self._solving is not None:
            return min(self.engines.next_at, self._solving[0])
        plans_at = self._free_at if self.dispatcher.wants_plan else inf
        return min(self.engines.next_at, plans_at)

    def submit(self, traced: TracedRequest, only: frozenset[str] | None = None) -> None:
        """Let a request wait; `pump` is to be called once all have come that come now."""
        began = perf_counter()
        self.dispatcher.submit(traced.request, only=only)
        self._of[traced.request.request_id] = traced
        self.live += 1
        self._was_busy(began)

    def advance(self, now: float) -> Iterator[tuple[TracedRequest, Said]]:
        """Let engines do what begins by now, hear of it, and hand it on."""
        for traced, said in self.engines.advance(now):
            if said.over or said.tokens == 1 or said.tokens % self._pace.heard_every == 0:
                self._hear(traced, said)
            yield traced, said

    def pump(self, now: float) -> Iterator[TracedRequest]:
        """Plan and send as far as it is time to; say whom no engine can ever serve."""
        if self._solving is not None and self._solving[0] <= now:
            self._take(self._solving[1])
        yield from self._release(now)
        if self._solving is None and self._free_at <= now and self.dispatcher.wants_plan:
            self._plan(now)
            if self._solving is not None and self._solving[0] <= now:  # it takes no time
                self._take(self._solving[1])
                yield from self._release(now)

    def close(self) -> None:
        """Let predictors and engines end."""
        self.dispatcher.close()
        for engine in self.engines.simulated.values():
            engine.close()

    def _hear(self, traced: TracedRequest, said: Said) -> None:
        began, request_id = perf_counter(), traced.request.request_id
        self.dispatcher.on_token(request_id, said.tokens, said.at)
        if said.over:
            self.dispatcher.on_complete(request_id, said.tokens, said.at)
            self._forget(request_id)
        self._was_busy(began)

    def _plan(self, now: float) -> None:
        """Begin a plan. It is solved at once: it sees nothing of what comes until it is done."""
        figures = self.figures
        began = perf_counter()
        figures.waiting.append(self.dispatcher.waiting)
        job = self.dispatcher.job(now)
        lock_s = perf_counter() - began
        solved = job.solve()
        figures.solve_s.append(solved.seconds)
        figures.lock_s.append(lock_s)
        figures.busy_s += lock_s
        plan_s = self._pace.plan_s
        if plan_s is None:
            plan_s = lock_s + solved.seconds + self._take_s
        figures.plan_s.append(plan_s)
        self._begun_at, self._solving = now, (now + plan_s, solved)
        self._free_at = now + max(plan_s, self._pace.plan_every_s)

    def _take(self, solved: FleetSolved) -> None:
        began = perf_counter()
        self.dispatcher.take(solved)
        self._take_s = perf_counter() - began
        self.figures.lock_s[-1] += self._take_s
        self.figures.busy_s += self._take_s
        self._solving = None
        if solved.solution is not None:
            self._made_at = self._begun_at

    def _release(self, now: float) -> Iterator[TracedRequest]:
        began = perf_counter()
        bound = self.dispatcher.release()
        self.figures.busy_s += perf_counter() - began
        for binding in bound:
            traced = self._of[binding.request_id]
            if self.dispatcher.outlook(binding.request_id) is not None:
                self.figures.ages.append(now - self._made_at)
            self.sent.append((binding.request_id, binding.replica.name))
            if not self.engines.send(binding.replica.name, traced, now):
                self.dispatcher.on_end(binding.request_id)
                self._forget(binding.request_id)
                yield traced

    def _forget(self, request_id: str) -> None:
        del self._of[request_id]
        self.live -= 1

    def _was_busy(self, began: float) -> None:
        self.figures.events += 1
        self.figures.busy_s += perf_counter() - began
