"""Whether the client itself keeps up: how late its event loop comes around."""

import asyncio
from time import monotonic

from slosched.sim.records import Spread

_PERIOD_S = 0.01


async def watch(lag: Spread) -> None:
    """Note, until cancelled, by how many seconds each short sleep is too long."""
    while True:
        before = monotonic()
        await asyncio.sleep(_PERIOD_S)
        lag.add(max(monotonic() - before - _PERIOD_S, 0.0))
