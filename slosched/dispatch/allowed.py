"""Plans for requests that only some replicas may get."""

from bisect import bisect
from collections.abc import Mapping

from slosched.dispatch.lives import Life, Lives
from slosched.dispatch.outlook import Outlook
from slosched.dispatch.replica import Replica


def put_where_allowed(queues: Mapping[Replica, list[str]], lives: Lives, outlook: Outlook) -> None:
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
    for name in sorted(displaced, key=outlook.first):
        places = _places(queues, lives[name], outlook)
        if places:
            at, replica = min(places, key=lambda place: (place[0], place[1].step_s))
            queues[replica].insert(at, name)


def _places(
    queues: Mapping[Replica, list[str]], life: Life, outlook: Outlook
) -> list[tuple[int, Replica]]:
    """Return behind how many a request would be at each replica that may get it."""
    mine = outlook.first(life.request.request_id)
    return [
        (bisect(queue, mine, key=outlook.first), replica)
        for replica, queue in queues.items()
        if life.may_go(replica)
    ]
