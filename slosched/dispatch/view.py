"""The queue as people see it: who waits for what until when, and what each replica has."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from slosched.dispatch.lives import Life, Lives
from slosched.dispatch.queues import Queues
from slosched.dispatch.replica import Replica, State


@dataclass(frozen=True, slots=True)
class WaitingView:
    """A request that waits; times are seconds on the clock of the arrivals.

    Parameters
    ----------
    replica
        For which the plan has it wait, "" where no plan knows it yet.
    place
        Behind how many it is there.
    deadline
        When its first limit that is a moment passes, inf if it has none.
    first, finish
        When the plan expects its first token and its last, inf if not at all.
    tokens
        Of its answer, as far as is known.
    slack
        Seconds that the plan leaves between these and its limits, negative if it is to be late;
        None where no plan knows it yet.
    """

    request_id: str
    slo_class: str
    tenant: str
    arrival: float
    input_tokens: int
    tokens: int
    deadline: float
    replica: str
    place: int
    first: float
    finish: float
    slack: float | None


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """A replica: its batch as far as it is ours, its queue here, and what it says of itself.

    Parameters
    ----------
    running
        Requests that it has of us.
    others
        Requests that it has of others.
    slots
        Sequences that a step of it takes.
    queued
        Requests that wait here for it.
    kv_promised, kv_tokens
        Tokens of KV cache that the running ones will need, and that it has.
    kv_used
        Share of it that is taken, as it says itself; None if it does not.
    slower
        How many times as long its steps take as its latency model has them.
    """

    name: str
    state: State
    running: int
    others: int
    slots: int
    queued: int
    kv_promised: int
    kv_tokens: int
    kv_used: float | None
    slower: float


@dataclass(frozen=True, slots=True)
class View:
    """All of it at `now`, in seconds on the clock of the arrivals.

    Parameters
    ----------
    waiting
        In the plan's order: by the place in their queues, of all replicas side by side.
    by_class
        How many wait of each class.
    margin
        By what factor plans take steps to be longer than they are known to be.
    plan_age
        Seconds since the state that the plan in force was made for; 0 if it knows nobody who waits.
    """

    now: float
    waiting: Sequence[WaitingView]
    by_class: Mapping[str, int]
    replicas: Sequence[ReplicaView]
    margin: float
    plan_age: float


def view(
    lives: Lives,
    queues: Queues,
    replicas: Sequence[Replica],
    now: float,
    margin: float,
    most: int | None = None,
) -> View:
    """Look at a queue; of those who wait only at the first `most`."""
    waiting, queued = [], {}
    for replica, queue in queues.items():
        mine = [name for name in queue if lives.waits(name)]
        queued[replica] = len(mine)
        waiting += [
            _waiting(lives[name], queues, lives, replica.name, place)
            for place, name in enumerate(mine[:most])
        ]
    waiting.sort(key=lambda one: (one.place, one.first))
    new = [name for name in queues.newcomers if lives.waits(name)][:most]
    waiting += [_waiting(lives[name], queues, lives, "", place) for place, name in enumerate(new)]
    by_class = Counter(life.request.slo_class for life in lives.waiting)
    there = [_replica(replica, queued.get(replica, 0)) for replica in replicas]
    plan_age = now - queues.made_at if any(queued.values()) else 0.0
    return View(now, waiting[:most], by_class, there, margin, plan_age)


def _waiting(life: Life, queues: Queues, lives: Lives, replica: str, place: int) -> WaitingView:
    request, slo = life.request, life.request.slo
    known = queues.outlook(request.request_id)
    first, finish = known or (inf, inf)
    slack = min(request.arrival + slo.ttft - first, request.arrival + slo.e2e - finish)
    return WaitingView(
        request.request_id, request.slo_class, request.tenant, request.arrival,
        request.input_tokens, int(lives.table.rows["length"][life.row]),
        request.arrival + min(slo.ttft, slo.e2e), replica, place, first, finish,
        slack if known else None,
    )  # fmt: skip


def _replica(replica: Replica, queued: int) -> ReplicaView:
    return ReplicaView(
        replica.name, replica.state, len(replica.given), replica.others.requests,
        replica.limits.max_num_seqs, queued, sum(replica.given.values()),
        replica.limits.kv_tokens, replica.reading.kv_used if replica.reading else None,
        replica.slower,
    )  # fmt: skip
