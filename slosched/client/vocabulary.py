"""Token ids that prompts may be made of."""

import re
from contextlib import suppress

import numpy as np

from slosched.client.connection import Connection
from slosched.core.errors import ConfigError, ServerError
from slosched.core.types import IntArray

# Beyond what tokenizers keep for control tokens, and within what any real model knows.
USUAL = (1000, 10_000)
_LETTERS = "".join(chr(code) for code in range(33, 127))
_RANGE = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")


def parse_range(text: str) -> IntArray:
    """Read `1000-30000` as all ids from one to the other; ConfigError if it is none."""
    match = _RANGE.fullmatch(text)
    if match is None or int(match[1]) > int(match[2]):
        raise ConfigError(f"--token-ids must be like 1000-30000, got {text}")
    return np.arange(int(match[1]), int(match[2]) + 1)


async def safe_ids(connection: Connection, model: str) -> IntArray:
    """Choose ids of ordinary tokens.

    The usual range, if the server's tokenizer knows it; else the ids of printable characters,
    as of models made for tests. A server that cannot be asked is taken to know the range.
    """
    usual = np.arange(USUAL[0], USUAL[1] + 1)
    with suppress(ServerError, KeyError, TypeError):
        known = await connection.post("/detokenize", {"model": model, "tokens": [USUAL[1]]})
        if not known["prompt"]:  # which vLLM's tokenizers make of what they do not know
            asked = {"model": model, "prompt": _LETTERS, "add_special_tokens": False}
            letters = await connection.post("/tokenize", asked)
            return np.unique(np.array(letters["tokens"], dtype=np.int64))
    return usual
