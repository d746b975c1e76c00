"""Which shard gets a request, where one queue is not enough: decided as it comes, for good."""

from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from itertools import count
from typing import Literal, get_args

from slosched.core.request import Request
from slosched.sim.fleet.shard import Shard

Sharing = Literal["hash", "round_robin", "least_loaded"]
SHARINGS: tuple[Sharing, ...] = get_args(Sharing)
Chooser = Callable[[Request, Sequence[Shard]], Shard]


def chooser(sharing: Sharing) -> Chooser:
    """Return who chooses, fresh.

    `hash` goes by the request's id, which is what a gateway does that splits by weights, or by a
    header; `round_robin` deals out in turn; `least_loaded` takes the shard with the fewest requests
    for each of its replicas, those that wait included, for which whoever shares out has to know.
    """
    turns = count()
    return {"hash": _by_hash, "round_robin": _in_turn(turns), "least_loaded": _least}[sharing]


def _by_hash(request: Request, shards: Sequence[Shard]) -> Shard:
    digest = blake2b(request.request_id.encode(errors="replace"), digest_size=8).digest()
    return shards[int.from_bytes(digest, "big") % len(shards)]


def _in_turn(turns: Iterator[int]) -> Chooser:
    def choose(request: Request, shards: Sequence[Shard]) -> Shard:
        del request
        return shards[next(turns) % len(shards)]

    return choose


def _least(request: Request, shards: Sequence[Shard]) -> Shard:
    del request
    return min(shards, key=lambda shard: shard.live / shard.replicas)
