"""Binding: giving those who wait to replicas, by a plan, by fairness, or as they come."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from slosched.dispatch.assignments.assignment import Assignment
from slosched.dispatch.fairness import Counters
from slosched.dispatch.lives import Life, Lives
from slosched.dispatch.queues import Queues
from slosched.dispatch.replica import Replica

_MANY = 64  # names of who waits no more, from which on they are dropped


@dataclass(frozen=True, slots=True)
class Binding:
    """A request that is to be sent to a replica now."""

    request_id: str
    replica: Replica


@dataclass(frozen=True, slots=True)
class Binder:
    """Binds requests one by one, and counts each for its tenant."""

    lives: Lives
    queues: Queues
    counters: Counters

    def at_once(self, ready: Sequence[Replica], assignment: Assignment) -> Iterator[Binding]:
        """Bind all who wait, where an assignment has them."""
        left = []
        for life in self._new():
            others = [replica for replica in ready if life.may_go(replica)]
            if others and not life.held:
                yield self._bind(life, assignment.choose(life.request, others))
            else:
                left.append(life.request.request_id)
        self.queues.newcomers = left

    def heads(self) -> Iterator[Binding]:
        """Bind the heads of the plan's queues, as long as their replicas have room."""
        for replica, queue in self.queues.items():
            if replica.full or not queue:
                continue
            while (head := self._head(replica, queue)) is not None:
                life = self._fair(head, replica, queue)
                if not replica.has_room(self.lives.needs(life)):
                    break
                yield self._bind(life, replica)

    def newcomers(self, ready: Sequence[Replica]) -> Iterator[Binding]:
        """Bind whom no plan knows where it takes nobody's place."""
        idle = [r for r in ready if not r.full and not self.queues.of(r)]
        if not idle:
            if len(self.queues.newcomers) > 2 * self.lives.waiting_count + _MANY:
                self.queues.newcomers = [life.request.request_id for life in self._new()]
            return
        left = []
        for life in self._new():
            free = [
                replica
                for replica in idle
                if life.may_go(replica) and replica.has_room(self.lives.needs(life))
            ]
            if free and not life.held and self.counters.overdue(life.flow) is None:
                soonest = min(free, key=lambda r: (r.outstanding + 1) * r.step_s)
                yield self._bind(life, soonest)
            else:
                left.append(life.request.request_id)
        self.queues.newcomers = left

    def _head(self, replica: Replica, queue: list[str]) -> Life | None:
        """Return who is the first of a queue that may go, and take out who may never."""
        at = 0
        while at < len(queue):
            life = self.lives.get(queue[at])
            if life is None or life.replica is not None:
                queue.pop(at)
            elif not life.may_go(replica):
                self.queues.newcomers.append(queue.pop(at))
            elif life.held:
                at += 1
            else:
                return life
        return None

    def _fair(self, head: Life, replica: Replica, queue: Sequence[str]) -> Life:
        """Return who goes in place of the head of a queue; most often the head itself."""
        overdue = self.counters.overdue(head.flow)
        if overdue is None:
            return head
        theirs = [life for life in self.lives.waiting_of(overdue) if not life.held]
        may_go = {life.request.request_id: life for life in theirs if life.may_go(replica)}
        planned = (may_go[name] for name in queue if name in may_go)
        return next(planned, next(iter(may_go.values()), head))

    def _new(self) -> list[Life]:
        return [self.lives[name] for name in self.queues.newcomers if self.lives.waits(name)]

    def _bind(self, life: Life, replica: Replica) -> Binding:
        self.lives.bind(life, replica)
        life.charged = float(self.lives.needs(life))
        self.counters.leaves(life.flow)
        self.counters.charge(life.flow, life.charged)
        return Binding(life.request.request_id, replica)
