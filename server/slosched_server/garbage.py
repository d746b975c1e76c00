"""Collecting garbage seldom, in a process that has begun to serve."""

import gc

_EVERY = 10_000  # objects; a request makes some hundred, and leaves none


def collect_less() -> None:
    """Let collections of garbage pass over what is here by now, which stays to the end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_EVERY)
