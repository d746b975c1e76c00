"""Loopback addresses of one test: a /16 that no other test on this machine uses meanwhile."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

LOCK_PORT = 6440


@contextmanager
def subnet() -> Iterator[str]:
    """Take one; gives its prefix, such as "127.20"; x.y.0.0/24 of it is the control plane's."""
    start = os.getpid()
    for k in range(200):
        prefix = f"127.{20 + (start + k) % 200}"
        with socket.socket() as lock:
            # Bound, never listened at: held until the test ends, however it ends.
            if _bound(lock, f"{prefix}.0.1"):
                yield prefix
                return
    raise OSError("all loopback subnets are taken")


def _bound(lock: socket.socket, address: str) -> bool:
    try:
        lock.bind((address, LOCK_PORT))
    except OSError:
        return False
    return True
