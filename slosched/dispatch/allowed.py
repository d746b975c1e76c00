"""Plans for requests that only some replicas may get."""

from bisect import bisect
from collections.abc import Mapping
from math import inf

from slosched.dispatch.lives import Life, Lives
from slosched.dispatch.replica import Replica

_Outlook = Mapping[str, tuple[float, float]]


def put_where_allowed(queues: Mapping[Replica, list[str]], lives: Lives, outlook: _Outlook) -> None:
    """Put whoever may not go where a plan has it into the queue of a replica where it may.

    Solvers know of no such bounds, which few requests have. Each keeps the moment at which it was
    to begin: it goes where the fewest others begin before that. Whoever may go nowhere is in no
    queue.

    Parameters
    ----------
    queues
        Of each replica who waits for it, the first first; changed in place.
    lives
        Who may go where.
    outlook
        When each request's first token and its last are expected, s.
    """
    displaced = []
    for replica, queue in queues.items():
        barred = {name for name in queue if not lives[name].may_go(replica)}
        if barred:
            displaced += [name for name in queue if name in barred]
            queue[:] = [name for name in queue if name not in barred]
    for name in sorted(displaced, key=lambda name: _first(outlook, name)):
        places = _places(queues, lives[name], outlook)
        if places:
            at, replica = min(places, key=lambda place: (place[0], place[1].step_s))
            queues[replica].insert(at, name)


def _places(
    queues: Mapping[Replica, list[str]], life: Life, outlook: _Outlook
) -> list[tuple[int, Replica]]:
    """Return behind how many a request would be at each replica that may get it."""
    mine = _first(outlook, life.request.request_id)
    return [
        (bisect(queue, mine, key=lambda name: _first(outlook, name)), replica)
        for replica, queue in queues.items()
        if life.may_go(replica)
    ]


def _first(outlook: _Outlook, name: str) -> float:
    return outlook.get(name, (inf, inf))[0]
