"""One queue, many replicas: who waits, who is where, and who goes next."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf, isnan

import numpy as np

from slosched.core.fleet import NOWHERE, FleetProblem, FleetSnapshot
from slosched.core.live import LiveTable
from slosched.core.protocols import Predictor
from slosched.core.request import Request
from slosched.core.slo import Slo
from slosched.dispatch.admission import AdmissionJob
from slosched.dispatch.assignments.assignment import Assignment
from slosched.dispatch.assignments.planned import PlannedFleet
from slosched.dispatch.job import FleetJob, FleetSolved
from slosched.dispatch.replica import Replica, State
from slosched.planner import Fixed
from slosched.planner.expectations import Ended
from slosched.planner.experience import Experience, Mishap
from slosched.planner.margin import MarginRule

_REHEARSED = 12  # requests
_LISTENED = 8  # of so many tokens one tells how fast a replica is


@dataclass(frozen=True, slots=True)
class Binding:
    """A request that is to be sent to a replica now."""

    request_id: str
    replica: Replica


@dataclass(slots=True)
class _Life:
    """What is known of a live request beyond its row."""

    row: int
    replica: Replica | None = None
    newest: float = 0.0  # when its newest token came, s
    failed_at: Replica | None = None


class Dispatcher:
    """Holds requests, and says who is to be sent where.

    Every call is told the time, in seconds, on the clock of the arrivals. With `PlannedFleet`
    requests wait until the replica that the newest plan names has room; any other assignment
    binds them as they come.

    Parameters
    ----------
    assignment
        Who chooses.
    predictor
        How long answers will be.
    repredict_tokens
        Output tokens after which a length is predicted again.
    margin
        How the factor between latency models and plans follows what comes of plans; none by
        default.
    """

    def __init__(
        self,
        assignment: Assignment | PlannedFleet,
        predictor: Predictor,
        *,
        repredict_tokens: int = 25,
        margin: MarginRule | None = None,
    ) -> None:
        from slosched.planner import kernels  # brings numba

        self._kernels = kernels
        self._assignment = assignment
        self._experience = Experience(predictor, repredict_tokens, margin or Fixed())
        self._table = LiveTable()
        self._lives: dict[str, _Life] = {}
        self._unbound: dict[str, int] = {}  # who waits, and the tokens of their prompts
        self._replicas: dict[str, Replica] = {}
        self._queues: dict[Replica, list[str]] = {}  # of the plan in force
        self._newcomers: list[str] = []  # whom no plan knows yet, and who may be bound
        self._outlook: dict[str, tuple[float, float]] = {}
        self._changed = False  # since the newest job was made
        self.mishaps: list[Mishap] = []

    # -- replicas come and go ------------------------------------------------------------------

    @property
    def replicas(self) -> Sequence[Replica]:
        """All that were ever added and not removed, in that order."""
        return tuple(self._replicas.values())

    @property
    def ready(self) -> Sequence[Replica]:
        """Those that get requests."""
        return [replica for replica in self._replicas.values() if replica.state == "ready"]

    def add_replica(self, replica: Replica) -> None:
        """Let a replica take part; ValueError if there is one of its name."""
        if replica.name in self._replicas:
            raise ValueError(f"replica {replica.name!r} is there already")
        self._replicas[replica.name] = replica
        self._changed = True

    def on_replica_change(self, name: str, state: State) -> None:
        """Let a replica get requests again, get none any more, or be away.

        What it has, it keeps: whoever sends requests finds out which of them are lost, and says
        so by `put_back` or `on_end`.
        """
        replica = self._replicas[name]
        if replica.state != state:
            replica.state = state
            self._changed = True
            self._newcomers += self._queues.pop(replica, [])

    def remove_replica(self, name: str) -> None:
        """Forget a replica; ValueError if it still has requests."""
        if self._replicas[name].given:
            raise ValueError(f"replica {name!r} still has requests: drain it first")
        self.on_replica_change(name, "away")
        del self._replicas[name]

    # -- requests come and go ------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Let a request wait; ValueError if its id is live already."""
        length = self._experience.usual.tokens
        if request.max_tokens is not None:
            length = min(length, request.max_tokens)
        row = self._table.add(request, length)
        self._lives[request.request_id] = _Life(row)
        self._unbound[request.request_id] = request.input_tokens
        self._newcomers.append(request.request_id)
        self._changed = True

    def on_token(self, request_id: str, tokens: int, now: float) -> None:
        """Hear that so many tokens of an answer are out; unknown ids are not listened to."""
        life = self._lives.get(request_id)
        if life is None or life.replica is None:
            return
        live = self._table.rows[life.row]
        if isnan(live["first_token"]):
            live["first_token"], live["prefill"] = now, 0
        elif tokens > live["produced"] and tokens % _LISTENED == 0:
            seconds = (now - life.newest) / (tokens - int(live["produced"]))
            life.replica.saw_step(seconds, *self._batch_of(life.replica))
        live["produced"] = tokens
        live["context"] = self._table.request(life.row).input_tokens + tokens - 1
        life.newest = now

    def on_complete(self, request_id: str, output_tokens: int, now: float) -> None:
        """Hear that an answer is whole, which predictors learn from."""
        life = self._lives.get(request_id)
        if life is None:
            return
        live, request = self._table.rows[life.row], self._table.request(life.row)
        serial, first = int(live["serial"]), float(live["first_token"])
        self._experience.ended(Ended(request, life.row, serial, first, now, output_tokens))
        self.on_end(request_id)

    def on_end(self, request_id: str) -> None:
        """Forget a request, whatever became of it."""
        life = self._lives.pop(request_id, None)
        if life is None:
            return
        if life.replica is not None:
            life.replica.take(request_id)
        self._unbound.pop(request_id, None)
        self._table.remove(request_id)
        self._outlook.pop(request_id, None)
        self._changed = True

    def put_back(self, request_id: str) -> bool:
        """Let a request wait again whose replica failed before its answer began.

        It is not bound to that replica again. False if it was put back before, or its answer has
        begun: then nothing is done.
        """
        life = self._lives.get(request_id)
        if life is None or life.replica is None or life.failed_at is not None:
            return False
        live = self._table.rows[life.row]
        if not isnan(live["first_token"]):
            return False
        life.replica.take(request_id)
        life.failed_at, life.replica = life.replica, None
        self._unbound[request_id] = self._table.request(life.row).input_tokens
        live["running"] = False
        self._newcomers.append(request_id)
        self._changed = True
        return True

    # -- who is let in -------------------------------------------------------------------------

    def admission(self, request_id: str, now: float) -> AdmissionJob | None:
        """Ask whether a request that waits is to be let in; None if nobody can tell."""
        life = self._lives.get(request_id)
        holds = isinstance(self._assignment, PlannedFleet)
        if life is None or life.replica is not None or not holds or not self.ready:
            return None
        job = self.job(now)
        self._changed = True  # as this will be no plan
        return AdmissionJob(job, int(np.flatnonzero(job.rows == life.row)[0]))

    @property
    def waiting_tokens(self) -> int:
        """Prompt tokens of the requests that are bound to no replica."""
        return sum(self._unbound.values())

    def drained_at(self, now: float) -> float:
        """When the plan in force begins with the last of those who wait, s; `now` without any."""
        waits = (name for queue in self._queues.values() for name in queue if self._waits(name))
        firsts = (self._outlook[name][0] for name in waits if name in self._outlook)
        return max([now, *(first for first in firsts if first < inf)])

    # -- who goes where ------------------------------------------------------------------------

    def release(self) -> list[Binding]:
        """Bind whoever can go now, and say where each is to be sent.

        Under a plan these are the heads of its queues, as long as their replicas have room. Whom
        no plan knows yet goes where there is room and nobody waits.
        """
        if not isinstance(self._assignment, PlannedFleet):
            return list(self._bind_at_once(self._assignment))
        heads = [
            binding
            for replica, queue in self._queues.items()
            for binding in self._bind_heads(replica, queue)
        ]
        return [*heads, *self._bind_newcomers()]

    @property
    def wants_plan(self) -> bool:
        """Whether there is something to plan that the newest job did not know."""
        holds = isinstance(self._assignment, PlannedFleet)
        return holds and self._changed and self.waiting > 0 and bool(self.ready)

    @property
    def waiting(self) -> int:
        """Requests that are bound to no replica."""
        return len(self._unbound)

    def job(self, now: float) -> FleetJob:
        """Return the problem of this moment, to be solved in any thread, then to be taken.

        Raises
        ------
        ValueError
            If the assignment does not plan, or no replica is ready.
        """
        ready = self.ready
        assignment = self._assignment
        if not isinstance(assignment, PlannedFleet) or not ready:
            raise ValueError("a plan needs an assignment that plans, and a replica that is ready")
        self._hear_of_lengths()
        margin = self._experience.margin.factor
        engines = [replica.engine(margin) for replica in ready]
        one, rows = self._table.snapshot(now, engines[0].limits, engines[0].latency)
        places = {replica: at for at, replica in enumerate(ready)}
        bound = np.array(
            [self._place(places, self._table.request(row).request_id) for row in rows.tolist()],
            dtype=np.int64,
        )
        there = bound < len(ready)  # not those that a replica which leaves still has
        rows, bound, live = rows[there], bound[there], one.live[there]
        snapshot = FleetSnapshot(now, live, bound, engines)
        due = self._kernels.due(self._table.rows, rows)
        requests = [self._table.request(row) for row in rows[due].tolist()]
        problem = FleetProblem(snapshot, assignment.objective, assignment.robust)
        self._changed = False
        return FleetJob(problem, assignment.solver, rows, ready, self._experience, due, requests)

    def take(self, solved: FleetSolved) -> None:
        """Put a plan in force."""
        job, found = solved.job, solved.solution
        self.mishaps += solved.mishaps
        snapshot = job.problem.snapshot
        self._kernels.take_lengths(self._table.rows, job.rows, snapshot.live, job.due)
        if found is None:
            return
        here = [self._id(job, k) for k in range(len(snapshot))]
        self._queues = {}
        for replica, queue in zip(job.replicas, found.queues, strict=True):
            waits = [here[k] for k in queue.tolist()]
            self._queues[replica] = [name for name in waits if name and self._waits(name)]
            self._table.rows["rank"][job.rows[queue]] = np.arange(len(queue))
        planned = {name for queue in self._queues.values() for name in queue}
        self._newcomers = [name for name in self._newcomers if name not in planned]
        times = zip(here, found.first.tolist(), found.finish.tolist(), strict=True)
        self._outlook = {
            name: (snapshot.now + first, snapshot.now + finish)
            for name, first, finish in times
            if name
        }

    def outlook(self, request_id: str) -> tuple[float, float] | None:
        """When the plan in force expects a request's first token and its last, s; None if unknown.

        Infinite for what it does not expect at all.
        """
        return self._outlook.get(request_id)

    def queue(self) -> list[tuple[str, str]]:
        """Return who waits, in the plan's order of each replica: ids, and names of replicas."""
        planned = [
            (name, replica.name)
            for replica, queue in self._queues.items()
            for name in queue
            if self._waits(name)
        ]
        return planned + [(name, "") for name in self._newcomers if self._waits(name)]

    def take_mishaps(self) -> list[Mishap]:
        """Return what went wrong with plans and predictions since this was last asked."""
        taken, self.mishaps = self.mishaps, []
        return [*taken, *self._experience.take_errors()]

    def close(self) -> None:
        """Let the predictor's thread end, if it has one."""
        self._experience.close()

    def warm_up(self) -> None:
        """Plan for made-up requests, so that nobody waits for compilers later.

        It works in the calling thread; nothing that fails is raised, nor learnt from.
        """
        if not isinstance(self._assignment, PlannedFleet) or not self._replicas:
            return
        rehearsal = Dispatcher(self._assignment, self._experience.usual)
        for replica in self._replicas.values():
            rehearsal.add_replica(replace(replica, given={}))
        for i in range(_REHEARSED):
            rehearsal.submit(Request(f"{i}", 0.0, 100, Slo(ttft=1.0, e2e=9.0)))
        rehearsal.take(rehearsal.job(0.0).solve())
        rehearsal.release()

    # -- details -------------------------------------------------------------------------------

    def _bind_at_once(self, assignment: Assignment) -> Iterator[Binding]:
        left = []
        for name in self._newcomers:
            if not self._waits(name):
                continue
            life = self._lives[name]
            ready = [replica for replica in self.ready if replica is not life.failed_at]
            if not ready:
                left.append(name)
                continue
            chosen = assignment.choose(self._table.request(life.row), ready)
            yield self._bind(name, chosen)
        self._newcomers = left

    def _bind_heads(self, replica: Replica, queue: list[str]) -> Iterator[Binding]:
        while queue:
            name = queue[0]
            if not self._waits(name):
                queue.pop(0)
                continue
            life = self._lives[name]
            if life.failed_at is replica:
                self._newcomers.append(queue.pop(0))
                continue
            if not replica.has_room(self._needs(life)):
                return
            queue.pop(0)
            yield self._bind(name, replica)

    def _bind_newcomers(self) -> Iterator[Binding]:
        """Bind whom no plan knows where it takes nobody's place."""
        left = []
        for name in self._newcomers:
            if not self._waits(name):
                continue
            life = self._lives[name]
            free = [
                replica
                for replica in self.ready
                if not self._queues.get(replica)
                and replica is not life.failed_at
                and replica.has_room(self._needs(life))
            ]
            if free:
                soonest = min(free, key=lambda r: (r.outstanding + 1) * r.engine().latency.base)
                yield self._bind(name, soonest)
            else:
                left.append(name)
        self._newcomers = left

    def _bind(self, name: str, replica: Replica) -> Binding:
        life = self._lives[name]
        replica.give(name, self._needs(life))
        life.replica = replica
        del self._unbound[name]
        self._table.rows["running"][life.row] = True
        self._changed = True
        return Binding(name, replica)

    def _needs(self, life: _Life) -> int:
        """Tokens of KV cache that a request will need, as far as is known."""
        live = self._table.rows[life.row]
        return self._table.request(life.row).input_tokens + int(live["length"])

    def _waits(self, name: str) -> bool:
        return name in self._unbound

    def _batch_of(self, replica: Replica) -> tuple[int, int]:
        """Sequences that decode there, and the tokens of their contexts."""
        rows = [self._lives[name].row for name in replica.given]
        live = self._table.rows[rows]
        decoding = live["prefill"] == 0
        return int(decoding.sum()), int(live["context"][decoding].sum())

    def _hear_of_lengths(self) -> None:
        """Let those be predicted again of whom the predictor found out more by itself."""
        for request_id in self._experience.improved():
            if request_id in self._lives:
                self._table.rows["predict_at"][self._lives[request_id].row] = 0

    def _place(self, places: dict[Replica, int], name: str) -> int:
        replica = self._lives[name].replica
        return NOWHERE if replica is None else places.get(replica, len(places))

    def _id(self, job: FleetJob, k: int) -> str | None:
        """Return the id of who was in a row of the snapshot, if it is live still."""
        row, serial = int(job.rows[k]), job.problem.snapshot.live["serial"][k]
        if self._table.rows["serial"][row] != serial:
            return None
        return self._table.request(row).request_id
