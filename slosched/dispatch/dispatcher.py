"""One queue, many replicas: who waits, who is where, and who goes next."""

from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

import numpy as np

from slosched.core.fleet import NOWHERE, FleetProblem, FleetSnapshot
from slosched.core.protocols import Predictor
from slosched.core.request import Request
from slosched.core.slo import Slo
from slosched.core.types import IntArray
from slosched.dispatch.admission import AdmissionJob
from slosched.dispatch.allowed import put_where_allowed
from slosched.dispatch.assignments.assignment import Assignment
from slosched.dispatch.assignments.planned import PlannedFleet
from slosched.dispatch.binding import Binder, Binding
from slosched.dispatch.fairness import Counters, Fairness
from slosched.dispatch.job import FleetJob, FleetSolved
from slosched.dispatch.lives import Lives
from slosched.dispatch.outlook import Outlook
from slosched.dispatch.queues import Queues
from slosched.dispatch.reading import Reading
from slosched.dispatch.reasons import ReasonsJob
from slosched.dispatch.replica import Replica, State
from slosched.dispatch.roster import Roster
from slosched.dispatch.view import View, view
from slosched.planner import Fixed
from slosched.planner.expectations import Ended
from slosched.planner.experience import Experience, Mishap
from slosched.planner.margin import MarginRule

_REHEARSED, _REHEARSING = 12, 2  # requests and replicas: so few that queues are long enough
_REHEARSALS, _COMPILED_S = 6, 1.0
_KNOWN = 64  # answers of a class, from which on it is known how long they are
_TRIED = 2  # requests at a time of a class that is not


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
    fairness
        Between tenants of a class, where requests wait for a plan.
    """

    def __init__(
        self,
        assignment: Assignment | PlannedFleet,
        predictor: Predictor,
        *,
        repredict_tokens: int = 25,
        margin: MarginRule | None = None,
        fairness: Fairness | None = None,
    ) -> None:
        from slosched.planner import kernels  # brings numba

        self._kernels = kernels
        self._assignment = assignment
        self._experience = Experience(predictor, repredict_tokens, margin or Fixed())
        self._counters = Counters(fairness or Fairness())
        self._lives, self._queues = Lives(), Queues()
        self._binder = Binder(self._lives, self._queues, self._counters)
        self._roster = Roster()
        self._changed = False  # since the newest job was made
        self._live_of: Counter[str] = Counter()  # requests, by class
        self._ended_of: Counter[str] = Counter()  # answers
        self.mishaps: list[Mishap] = []

    def change(
        self,
        assignment: Assignment | PlannedFleet,
        fairness: Fairness,
        predictor: Predictor | None = None,
    ) -> None:
        """Let somebody else choose, and predict, from now on; no plan knows who waits then."""
        self._assignment, self._counters.fairness = assignment, fairness
        if predictor is not None:
            self._experience.close()
            self._experience = self._experience.under(predictor)
        for replica in self.replicas:
            self._queues.dissolve(replica)
        self._changed = True

    # -- replicas come and go ------------------------------------------------------------------

    @property
    def replicas(self) -> Sequence[Replica]:
        """All that were ever added and not removed, in that order."""
        return self._roster.all

    @property
    def ready(self) -> Sequence[Replica]:
        """Those that get requests."""
        return self._roster.ready

    def add_replica(self, replica: Replica) -> None:
        """Let a replica take part; ValueError if there is one of its name."""
        self._roster.add(replica)
        self._changed = True

    def on_replica_change(self, name: str, state: State) -> None:
        """Let a replica get requests again, get none any more, or be away.

        What it has, it keeps: whoever sends requests finds out which of them are lost, and says
        so by `put_back` or `on_end`.
        """
        if not self._roster.change(name, state):
            return
        replica = self._roster[name]
        self._queues.dissolve(replica)
        if state == "away":
            replica.forget()
        self._changed = True

    def on_reading(self, name: str, reading: Reading) -> None:
        """Hear what a replica says of itself."""
        replica = self._roster[name]
        before = replica.others, replica.limits
        replica.said(reading)
        self._changed = self._changed or (replica.others, replica.limits) != before

    def remove_replica(self, name: str) -> None:
        """Forget a replica; ValueError if it still has requests."""
        if self._roster[name].given:
            raise ValueError(f"replica {name!r} still has requests: drain it first")
        self.on_replica_change(name, "away")
        self._roster.remove(name)

    # -- requests come and go ------------------------------------------------------------------

    def submit(
        self, request: Request, *, held: bool = False, only: AbstractSet[str] | None = None
    ) -> None:
        """Let a request wait; ValueError if its id is live already.

        One that is held is not bound before it is let in, by `admit`. Where `only` some replicas
        may get it, these are named.
        """
        length = self._experience.usual.tokens
        if request.max_tokens is not None:
            length = min(length, request.max_tokens)
        life = self._lives.add(request, length)
        life.held, life.only = held, only
        self._counters.arrives(life.flow)
        self._live_of[request.slo_class] += 1
        self._queues.newcomers.append(request.request_id)
        self._changed = True

    def on_token(self, request_id: str, tokens: int, now: float) -> None:
        """Hear that so many tokens of an answer are out; unknown ids are not listened to."""
        life = self._lives.get(request_id)
        if life is not None:
            self._lives.token(life, tokens, now)

    def on_complete(self, request_id: str, output_tokens: int, now: float) -> None:
        """Hear that an answer is whole, which predictors learn from."""
        life = self._lives.get(request_id)
        if life is None:
            return
        live = self._lives.table.rows[life.row]
        serial, first = int(live["serial"]), float(live["first_token"])
        live["produced"] = output_tokens
        self._ended_of[life.request.slo_class] += 1
        self._experience.ended(Ended(life.request, life.row, serial, first, now, output_tokens))
        self.on_end(request_id)

    def on_end(self, request_id: str) -> None:
        """Forget a request, whatever became of it."""
        life = self._lives.get(request_id)
        if life is None:
            return
        if life.replica is None:
            self._counters.leaves(life.flow)
        else:
            served = life.request.input_tokens + int(self._lives.table.rows["produced"][life.row])
            self._counters.charge(life.flow, served - life.charged)
        self._lives.remove(request_id)
        self._live_of[life.request.slo_class] -= 1
        self._changed = True

    def put_back(self, request_id: str) -> bool:
        """Let a request wait again whose replica failed before its answer began.

        It is not bound to that replica again. False if it was put back before, or its answer has
        begun: then nothing is done.
        """
        life = self._lives.get(request_id)
        if life is None or not self._lives.unbind(life):
            return False
        self._counters.charge(life.flow, -life.charged)
        self._counters.arrives(life.flow)
        self._queues.newcomers.append(request_id)
        self._changed = True
        return True

    def moved(self, request_id: str, name: str) -> bool:
        """Hear that a request is served by another replica than the one that it was bound to.

        False if it is not, or nothing is known of either: then nothing is done.
        """
        life, replica = self._lives.get(request_id), self._roster.get(name)
        if life is None or replica is None or life.replica in {None, replica}:
            return False
        self._lives.move(life, replica)
        self._changed = True
        return True

    # -- who is let in -------------------------------------------------------------------------

    def admission(self, request_id: str, now: float, caution: float = 2.0) -> AdmissionJob | None:
        """Ask whether a request that waits is to be let in; None if nobody can tell.

        Of a class that is new, a few are let in whatever is expected of them: if their answers were
        taken to be too long to be in time, nobody would ever know better.
        """
        holds = isinstance(self._assignment, PlannedFleet)
        if not self._lives.waits(request_id) or not holds or not self.ready:
            return None
        slo_class = self._lives[request_id].request.slo_class
        if self._ended_of[slo_class] < _KNOWN and self._live_of[slo_class] <= _TRIED:
            return None
        job = self.job(now)
        self._changed = True  # as this will be no plan
        queues = self._queue_rows(job.rows, job.replicas)
        new = [name for name in self._queues.newcomers if self._lives.waits(name)]
        new = [*(name for name in new if name != request_id), request_id]
        return AdmissionJob(job, queues, self._at(job.rows, new), caution)

    def admit(self, request_id: str) -> None:
        """Let a request in that was held."""
        if (life := self._lives.get(request_id)) is not None:
            life.held = False

    @property
    def waiting(self) -> int:
        """Requests that are bound to no replica."""
        return self._lives.waiting_count

    @property
    def waiting_tokens(self) -> int:
        """Prompt tokens of those."""
        return self._lives.waiting_tokens

    def drained_at(self, now: float) -> float:
        """When the plan in force begins with the last of those who wait, s; `now` without any."""
        return self._queues.last_start(now)

    # -- who goes where ------------------------------------------------------------------------

    def release(self) -> list[Binding]:
        """Bind whoever can go now, and say where each is to be sent.

        Under a plan these are the heads of its queues, as long as their replicas have room, unless
        a tenant of the same class is too far behind. Whom no plan knows yet goes where there is
        room and nobody waits.
        """
        assignment = self._assignment
        if isinstance(assignment, PlannedFleet):
            bound = [*self._binder.heads(), *self._binder.newcomers(self.ready)]
        else:
            bound = list(self._binder.at_once(self.ready, assignment))
        self._changed = self._changed or bool(bound)
        return bound

    @property
    def wants_plan(self) -> bool:
        """Whether there is something to plan that the newest job did not know."""
        holds = isinstance(self._assignment, PlannedFleet)
        return holds and self._changed and self.waiting > 0 and bool(self.ready)

    def job(self, now: float) -> FleetJob:
        """Return the problem of this moment, to be solved in any thread, then to be taken.

        Raises
        ------
        ValueError
            If the assignment does not plan, or no replica is ready.
        """
        ready, assignment = self.ready, self._assignment
        if not isinstance(assignment, PlannedFleet) or not ready:
            raise ValueError("a plan needs an assignment that plans, and a replica that is ready")
        self._hear_of_lengths()
        problem, rows = self._problem(now, assignment)
        table = self._lives.table
        due = self._kernels.due(table.rows, rows)
        requests = [table.request(row) for row in rows[due].tolist()]
        self._changed = False
        return FleetJob(problem, assignment.solver, rows, ready, self._experience, due, requests)

    def take(self, solved: FleetSolved) -> None:
        """Put a plan in force."""
        job, found = solved.job, solved.solution
        self.mishaps += solved.mishaps
        snapshot, rows = job.problem.snapshot, self._lives.table.rows
        self._kernels.take_lengths(rows, job.rows, snapshot.live, job.due)
        if found is None or not isinstance(self._assignment, PlannedFleet):
            return
        queues = {}
        for replica, queue in zip(job.replicas, found.queues, strict=True):
            if replica.state != "ready":
                continue  # it left while this was solved: who was to wait for it comes anew
            there = rows["serial"][job.rows[queue]] == snapshot.live["serial"][queue]
            here = job.rows[queue[there]]
            rows["rank"][here], self._lives.queued_at[here] = np.flatnonzero(there), replica.number
            waits = (self._lives.table.request(row).request_id for row in here.tolist())
            queues[replica] = [name for name in waits if self._lives.waits(name)]
        outlook = Outlook(
            self._lives, job.rows, snapshot.live["serial"],
            snapshot.now + found.first, snapshot.now + found.finish,
        )  # fmt: skip
        put_where_allowed(queues, self._lives, outlook)
        self._queues.replace(queues, outlook, snapshot.now)

    # -- who wants to know ---------------------------------------------------------------------

    def outlook(self, request_id: str) -> tuple[float, float] | None:
        """When the plan in force expects a request's first token and its last, s; None if unknown.

        Infinite for what it does not expect at all.
        """
        return self._queues.outlook(request_id)

    def snapshot(self, now: float, most: int | None = None) -> View:
        """Return who waits in the plan's order, the first `most`, and what each replica has."""
        margin = self._experience.margin.factor
        return view(self._lives, self._queues, self.replicas, now, margin, most)

    def expected_tokens(self, request_id: str) -> int | None:
        """How long a live request's answer is expected to be; None if it is not live."""
        life = self._lives.get(request_id)
        return None if life is None else max(round(self._lives.table.rows["length"][life.row]), 1)

    def first_guess(self, request_id: str) -> float | None:
        """Output tokens that were first predicted of a live request; None if none were."""
        return self._lives.first_guess(request_id)

    def reasons(self, now: float) -> ReasonsJob | None:
        """Ask why the plan in force begins as it does; None where no plan is."""
        ready, assignment = self.ready, self._assignment
        if not isinstance(assignment, PlannedFleet) or not ready:
            return None
        problem, rows = self._problem(now, assignment)
        ids = [self._lives.table.request(row).request_id for row in rows.tolist()]
        queues = self._queue_rows(rows, ready)
        return ReasonsJob(problem, assignment.solver, ids, [r.name for r in ready], queues)

    def take_mishaps(self) -> list[Mishap]:
        """Return what went wrong with plans and predictions since this was last asked."""
        taken, self.mishaps = self.mishaps, []
        return [*taken, *self._experience.take_errors()]

    def close(self) -> None:
        """Let the predictor's thread end, if it has one."""
        self._experience.close()

    def warm_up(self, replicas: Sequence[Replica] = ()) -> None:
        """Plan for made-up requests, so that nobody waits for compilers later.

        It works in the calling thread; nothing that fails is raised, nor learnt from. Replicas are
        those that are there, and such as may come.
        """
        every = (*self.replicas, *replicas)
        if not isinstance(self._assignment, PlannedFleet) or not every:
            return
        rehearsal = Dispatcher(self._assignment, self._experience.usual)
        for replica in every[:_REHEARSING]:
            rehearsal.add_replica(replace(replica, given={}))
        for i in range(_REHEARSED):
            rehearsal.submit(Request(f"{i}", 0.0, 100, Slo(ttft=1.0, e2e=9.0)))
        for _ in range(_REHEARSALS):
            # What compiles in the first uses up the time that the rest of it would have had.
            solved = rehearsal.job(0.0).solve()
            rehearsal.take(solved)
            if solved.seconds < _COMPILED_S:
                break
        if (asked := rehearsal.admission("0", 0.0)) is not None:
            asked.admits()
        rehearsal.release()

    # -- details -------------------------------------------------------------------------------

    def _problem(self, now: float, assignment: PlannedFleet) -> tuple[FleetProblem, IntArray]:
        """Return what there is to plan, and which row of the table each of its rows is."""
        margin = self._experience.margin.factor
        engines = [replica.engine(margin) for replica in self.ready]
        one, rows = self._lives.table.snapshot(now, engines[0].limits, engines[0].latency)
        bound = self._roster.places(self._lives.at[rows])
        there = bound < len(engines)  # not those that a replica which leaves still has
        queued = self._roster.places(self._lives.queued_at[rows])
        queued[(queued == len(engines)) | (bound != NOWHERE)] = NOWHERE
        snapshot = FleetSnapshot(now, one.live[there], bound[there], engines, queued[there])
        return FleetProblem(snapshot, assignment.objective, assignment.robust), rows[there]

    def _queue_rows(self, rows: IntArray, ready: Sequence[Replica]) -> list[IntArray]:
        """Return the queues of the plan in force as rows of a snapshot."""
        waits = ([n for n in self._queues.of(r) if self._lives.waits(n)] for r in ready)
        return [self._at(rows, names) for names in waits]

    def _at(self, rows: IntArray, names: Sequence[str]) -> IntArray:
        """Tell which rows of a snapshot some requests are in."""
        where = np.empty(len(self._lives.table.rows), dtype=np.int64)
        where[rows] = np.arange(len(rows))
        return where[np.array([self._lives[name].row for name in names], dtype=np.int64)]

    def _hear_of_lengths(self) -> None:
        """Let those be predicted again of whom the predictor found out more by itself."""
        for request_id in self._experience.improved():
            if (life := self._lives.get(request_id)) is not None:
                self._lives.table.rows["predict_at"][life.row] = 0
