"""Prompts for the requests of traces that have none."""

from hashlib import blake2b

import numpy as np

from slosched.core.request import TracedRequest
from slosched.core.types import IntArray

BLOCK_TOKENS = 512  # of one of Mooncake's hash ids
_WORDS = (
    "able age air all and any area army art ask back bad bank base bed best big bit blue boat "
    "body book born boy bring build bus buy call car care case city cold come cost cup cut dark "
    "day deal deep do door down draw dry east easy eat end eye face fact fall far farm fast feel "
    "few film find fire fish five flat food form four free full game girl give go gold good green"
)


class Prompts:
    """Makes prompts up: the same for the same seed and request, whatever else the trace holds.

    Parameters
    ----------
    ids
        Tokens that prompts may be made of.
    seed
        Draws them.
    """

    def __init__(self, ids: IntArray, seed: int) -> None:
        self._ids = ids
        self._seed = seed

    def tokens(self, traced: TracedRequest) -> IntArray:
        """Make a prompt of exactly the request's length, shape (input_tokens,).

        Each of its hash ids stands for the same block of tokens wherever it occurs in its trace,
        so that an engine finds shared prefixes in its cache. What they leave over is the
        request's own.
        """
        length = traced.request.input_tokens
        whole = -(-length // BLOCK_TOKENS)
        blocks = [
            self._draw(f"block/{traced.source}/{hash_id}", BLOCK_TOKENS)
            for hash_id in traced.hash_ids[:whole]
        ]
        left = max(length - len(blocks) * BLOCK_TOKENS, 0)
        blocks.append(self._draw(f"request/{traced.request.request_id}", left))
        tokens: IntArray = np.concatenate(blocks)[:length]
        return tokens

    def text(self, traced: TracedRequest) -> str:
        """Make a text of as many short words as the request has tokens: about as long."""
        rng = self._rng(f"words/{traced.request.request_id}")
        return " ".join(rng.choice(_WORDS.split(), traced.request.input_tokens))

    def _draw(self, what: str, n: int) -> IntArray:
        return self._ids[self._rng(what).integers(len(self._ids), size=n)]

    def _rng(self, what: str) -> np.random.Generator:
        digest = blake2b(f"{self._seed}/{what}".encode(), digest_size=16).digest()
        return np.random.default_rng(int.from_bytes(digest, "big"))
