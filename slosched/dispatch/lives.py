"""The live requests of the queue: who waits, who is where, and how far each has come."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from math import isnan, nan

import numpy as np

from slosched.core.fleet import NOWHERE
from slosched.core.live import LiveTable
from slosched.core.request import Request
from slosched.core.types import IntArray
from slosched.dispatch.fairness import Flow
from slosched.dispatch.replica import Replica

_LISTENED = 8  # of so many tokens one tells how fast a replica is
_TOGETHER = 4  # tokens at most, for that: over more, steps were in between that computed prompts


@dataclass(eq=False, slots=True)
class Life:
    """What is known of a live request beyond its row.

    Parameters
    ----------
    row
        Of the table.
    request
        As it was submitted.
    replica
        Where it is; None while it waits.
    tokens, newest
        How many of its answer are out, and when the newest came, s.
    failed_at
        The replica that failed it once, and does not get it again.
    charged
        Tokens that its tenant was charged for it.
    held
        Whether it is not to be bound yet: whether it is let in is being decided.
    only
        Names of the replicas that may get it; None for all.
    """

    row: int
    request: Request
    replica: Replica | None = None
    tokens: int = 0
    newest: float = 0.0
    failed_at: Replica | None = None
    charged: float = 0.0
    held: bool = False
    only: AbstractSet[str] | None = None

    def may_go(self, replica: Replica) -> bool:
        """Whether a replica may get it."""
        return replica is not self.failed_at and (self.only is None or replica.name in self.only)

    @property
    def flow(self) -> Flow:
        """Its class and tenant, between which tokens are shared out."""
        return self.request.slo_class, self.request.tenant


class Lives:
    """All live requests, by id.

    Attributes
    ----------
    table
        Their rows.
    at
        Shape (rows,): the number of the replica that each row's request is bound to, or NOWHERE.
    queued_at
        Shape (rows,): the same of the replica for which the plan in force has it wait.
    waiting_tokens
        Prompt tokens of those that are bound to no replica.
    """

    def __init__(self) -> None:
        self.table = LiveTable()
        self.at: IntArray = np.full(len(self.table.rows), NOWHERE, dtype=np.int64)
        self.queued_at: IntArray = self.at.copy()
        self.waiting_tokens = 0
        self._lives: dict[str, Life] = {}
        self._waiting: dict[str, Life] = {}
        self._waiting_of: dict[Flow, dict[str, Life]] = {}

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._lives

    def __getitem__(self, request_id: str) -> Life:
        return self._lives[request_id]

    def get(self, request_id: str) -> Life | None:
        """Return a live request; None if there is none of that id."""
        return self._lives.get(request_id)

    @property
    def waiting(self) -> Sequence[Life]:
        """Those that are bound to no replica, in order of arrival, but for who was put back."""
        return tuple(self._waiting.values())

    def waiting_of(self, flow: Flow) -> Sequence[Life]:
        """Those of a class and a tenant, as `waiting` has them."""
        return tuple(self._waiting_of.get(flow, {}).values())

    @property
    def waiting_count(self) -> int:
        """How many are bound to no replica."""
        return len(self._waiting)

    def waits(self, request_id: str) -> bool:
        """Whether a request is live, and bound to no replica."""
        return request_id in self._waiting

    def add(self, request: Request, length: float) -> Life:
        """Enter a request that waits; ValueError if its id is live already."""
        life = Life(self.table.add(request, length), request)
        if life.row >= len(self.at):
            more = np.full(len(self.table.rows) - len(self.at), NOWHERE, dtype=np.int64)
            self.at = np.concatenate((self.at, more))
            self.queued_at = np.concatenate((self.queued_at, more))
        self.queued_at[life.row] = NOWHERE
        self._lives[request.request_id] = life
        self._wait(life)
        return life

    def remove(self, request_id: str) -> Life | None:
        """Forget a request, wherever it is; None if it was not live."""
        life = self._lives.pop(request_id, None)
        if life is not None:
            if life.replica is None:
                self._wait_no_more(life)
            else:
                life.replica.take(request_id)
            if life.replica is not None and life.tokens:
                life.replica.decoding -= 1
                life.replica.context_tokens -= _context(life)
            self.table.remove(request_id)
            self.at[life.row] = NOWHERE
        return life

    def bind(self, life: Life, replica: Replica) -> None:
        """Give a request that waits to a replica."""
        replica.give(life.request.request_id, self.needs(life))
        life.replica = replica
        self.at[life.row] = replica.number
        self._wait_no_more(life)
        self.table.rows["running"][life.row] = True

    def unbind(self, life: Life) -> bool:
        """Let a request wait again; False if its answer has begun, or it did before."""
        if life.replica is None or life.failed_at is not None:
            return False
        if life.tokens:
            return False
        life.replica.take(life.request.request_id)
        life.failed_at, life.replica = life.replica, None
        self.at[life.row] = NOWHERE
        self._wait(life)
        self.table.rows["running"][life.row] = False
        return True

    def move(self, life: Life, replica: Replica) -> None:
        """Note that a request that was given to one replica is served by another."""
        old = life.replica
        if old is None:
            raise ValueError(f"request {life.request.request_id!r} is at no replica")
        replica.give(life.request.request_id, self.needs(life))
        life.replica = replica
        self.at[life.row] = replica.number
        old.take(life.request.request_id)
        if life.tokens:
            old.decoding -= 1
            replica.decoding += 1
            old.context_tokens -= _context(life)
            replica.context_tokens += _context(life)

    def token(self, life: Life, tokens: int, now: float) -> None:
        """Note that so many tokens of an answer are out, and let its replica learn from when."""
        replica = life.replica
        if replica is None:
            return
        live, more = self.table.rows[life.row], tokens - life.tokens
        if not life.tokens:
            live["first_token"], live["prefill"] = now, 0
            replica.decoding += 1
            replica.context_tokens += life.request.input_tokens - 1
        elif 0 < more <= _TOGETHER and tokens % _LISTENED == 0:
            seconds = (now - life.newest) / more
            replica.saw_step(seconds, replica.decoding, replica.context_tokens)
        replica.context_tokens += more
        live["produced"] = tokens
        live["context"] = life.request.input_tokens + tokens - 1
        life.tokens, life.newest = tokens, now

    def needs(self, life: Life) -> int:
        """Tokens of KV cache that a request will need, as far as is known."""
        return life.request.input_tokens + int(self.table.rows["length"][life.row])

    def first_guess(self, request_id: str) -> float | None:
        """Output tokens that were first predicted of a live request; None if none were."""
        life = self._lives.get(request_id)
        guess = nan if life is None else float(self.table.rows["first_guess"][life.row])
        return None if isnan(guess) else guess

    def _wait(self, life: Life) -> None:
        self._waiting[life.request.request_id] = life
        self._waiting_of.setdefault(life.flow, {})[life.request.request_id] = life
        self.waiting_tokens += life.request.input_tokens

    def _wait_no_more(self, life: Life) -> None:
        del self._waiting[life.request.request_id]
        of_flow = self._waiting_of[life.flow]
        del of_flow[life.request.request_id]
        if not of_flow:
            del self._waiting_of[life.flow]
        self.waiting_tokens -= life.request.input_tokens


def _context(life: Life) -> int:
    """Tokens of the context of a request that is being answered."""
    return life.request.input_tokens - 1 + life.tokens
