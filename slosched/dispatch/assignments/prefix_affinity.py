"""Prefix affinity: who begins alike goes to the same replica, whose cache has the beginning."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

from slosched.core.request import Request
from slosched.dispatch.replica import Replica


@dataclass(frozen=True)
class PrefixAffinity:
    """Rendezvous hashing of a prompt's beginning, with bounded loads (arXiv 1608.01350).

    Parameters
    ----------
    characters
        Of the prompt that count as its beginning, at least 1.
    most
        Requests that a replica may have over the mean of all, as a factor, above 1: beyond it
        the next best gets the request.
    """

    kind: Literal["prefix_affinity"] = "prefix_affinity"
    characters: int = 256
    most: float = 1.25

    def __post_init__(self) -> None:
        if self.characters < 1:
            raise ValueError(f"characters must be at least 1, got {self.characters}")
        if not self.most > 1:
            raise ValueError(f"most must be greater than 1, got {self.most}")

    def choose(self, request: Request, replicas: Sequence[Replica]) -> Replica:
        """Choose by hash the first that has not too many."""
        beginning = (request.prompt or request.request_id)[: self.characters]
        mean = (sum(replica.outstanding for replica in replicas) + 1) / len(replicas)
        preferred = sorted(replicas, key=lambda replica: _weight(beginning, replica.name))
        return next(r for r in preferred if r.outstanding < self.most * mean)


def _weight(beginning: str, name: str) -> bytes:
    return blake2b(f"{name}\0{beginning}".encode(errors="replace"), digest_size=8).digest()
