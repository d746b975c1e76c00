"""Whether this picker is the one to be asked: its health says so, and those who wait hear of it."""

import asyncio

import structlog

from slosched_server.picker.desk import Desk
from slosched_server.picker.health import Health
from slosched_server.picker.refusals import no_endpoint

log = structlog.get_logger()

_LOOK_EVERY_S = 0.25
_ALONE_S = 3.0  # more than a look at replicas that one missed


class Role:
    """Active once it leads and knows its replicas; else a standby.

    Parameters
    ----------
    desk
        Takes requests for as long as this is active.
    health
        Told of it.
    leads, knows
        How it begins.
    """

    def __init__(self, desk: Desk, health: Health, *, leads: bool, knows: bool) -> None:
        self._desk, self._health = desk, health
        self._leads, self._knows = leads, knows
        self._apply()

    @property
    def active(self) -> bool:
        """Whether requests are taken."""
        return self._leads and self._knows

    async def ready(self) -> bool:
        """Whether requests are taken, for whoever awaits that."""
        return self.active

    def lead(self, leads: bool) -> None:
        """Hear that this picker leads, or does no more."""
        self._leads = leads
        self._apply()

    def know(self) -> None:
        """Hear that its replicas are known."""
        self._knows = True
        self._apply()

    async def watch(self) -> None:
        """Let those who wait try again once no replica was ready for a while, until cancelled."""
        alone_s = 0.0
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            alone_s = alone_s + _LOOK_EVERY_S if self._desk.deserted else 0.0
            if alone_s >= _ALONE_S and (away := self._desk.fleet.turn_away(no_endpoint())):
                log.warning("no replica is ready: those who wait are to try again", requests=away)

    def _apply(self) -> None:
        if self.active:
            self._desk.open()
        elif away := self._desk.close():
            log.warning("those who wait are to try again", requests=away)
        self._health.set(ready=self.active)
