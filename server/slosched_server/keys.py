"""API keys: random texts of which only a digest is kept.

A key has 256 random bits, so nobody finds it by trying, however fast the hash: a slow one as for
passwords, which people choose, would protect nothing here and cost milliseconds a request.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping

from slosched_server.caller import Caller

PREFIX = "slosched-"
_RANDOM_BYTES = 32
_MOST_BYTES = 256  # of a key; what is longer is none, and is not hashed
_START = 8
_NOBODY = (bytes(hashlib.sha256().digest_size), None)


def new_key() -> str:
    """Draw a key, which can be told from other secrets by how it begins."""
    return PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def digest_of(key: bytes) -> bytes:
    """Return what is kept of a key: its SHA-256."""
    return hashlib.sha256(key).digest()


class Keyring:
    """Finds out whose a key is, in the same time for all keys and for none.

    The first bytes of the digest say which key it might be; all bytes are compared in constant
    time. Whoever guesses knows the digests of the guesses, and learns nothing about a key from
    how its own one begins.

    Parameters
    ----------
    callers
        By digests of their keys.
    """

    def __init__(self, callers: Mapping[bytes, Caller]) -> None:
        self._by_start = {digest[:_START]: (digest, callers[digest]) for digest in callers}

    def find(self, key: bytes) -> Caller | None:
        """Return whose key it is; None if nobody's."""
        if len(key) > _MOST_BYTES:
            return None
        digest = digest_of(key)
        known, caller = self._by_start.get(digest[:_START], _NOBODY)
        return caller if hmac.compare_digest(known, digest) else None
