"""Who of several leads: whoever holds a Lease, and has just renewed it."""

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil, inf
from typing import Any, NoReturn

import structlog

from slosched_server.kubernetes.api import ClusterError
from slosched_server.kubernetes.kinds import Object
from slosched_server.kubernetes.leases import Leases

log = structlog.get_logger()

_BLINK_S = 0.01


@dataclass(frozen=True, slots=True)
class ElectionTimes:
    """How long who may lead; seconds.

    Parameters
    ----------
    duration_s
        Since the last renewal that somebody saw, until that one may take over.
    renew_s
        Since the last renewal was begun, until whoever leads steps down.
    retry_s
        From one try to the next.

    Raises
    ------
    ValueError
        If somebody might take over before the other has stepped down.
    """

    duration_s: float = 6.0
    renew_s: float = 4.0
    retry_s: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.retry_s < self.renew_s < self.duration_s:
            raise ValueError("must be 0 < retry_s < renew_s < duration_s")


class Election:
    """Takes the Lease when nobody holds it, and keeps it while this runs.

    At most one leads at any time, however late answers are and whatever anybody's wall clock says:
    whoever leads does so for `renew_s` after it *began* to renew, and others wait for `duration_s`
    after they *saw* that renewal. Times in the Lease are for those who read it. Only a clock
    that runs half as fast again as another, or somebody who deletes the Lease while a newcomer
    comes, could make two lead: a write is refused that does not know of the last one.

    Whoever cannot reach the Lease leads no more, but stays in office until somebody else is seen
    to hold it: when the cluster's API is away nobody takes over, and requests are to be served. But
    a process that stood still (a machine that was paused, say) has to ask first.
    If it alone is cut off, two are in office for that long.

    The election of kubernetes_asyncio does not serve us: a call that hangs keeps its leader in
    office, it goes by wall clocks, connections that fail end it, and it never lets the Lease go.

    Parameters
    ----------
    leases
        Where the Lease is.
    identity
        By which this one is known; unique among those who run at the same time.
    changed
        Called with True when this one comes into office, with False when it leaves it.
    times
        How long who may lead.
    """

    def __init__(
        self,
        leases: Leases,
        identity: str,
        changed: Callable[[bool], None],
        times: ElectionTimes | None = None,
    ) -> None:
        self.identity, self.times = identity, times or ElectionTimes()
        self._leases, self._changed = leases, changed
        self._clock = asyncio.get_running_loop().time
        self._until = -inf  # this one leads
        self._stays = False  # in office, whether it leads or not
        self._told = self._warned = False
        self._mine: Object | None = None  # as it was written last
        self._seen: tuple[str, str] = ("", "")  # holder and version
        self._free_at = -inf  # if that stays so
        self._problem = ""

    @property
    def leading(self) -> bool:
        """Whether this one leads at this moment; False in time even if nobody could be told."""
        return self._clock() < self._until

    @property
    def in_office(self) -> bool:
        """Whether this one leads, or did so last as far as it knows."""
        return self.leading or self._stays

    @property
    def holder(self) -> str:
        """Who held the Lease when it was seen last, "" if nobody did."""
        return self._seen[0]

    async def run(self) -> NoReturn:
        """Stand for election until cancelled; then let the Lease go for the next one."""
        try:
            while True:
                began = self._clock()
                await self._try()
                self._doubt(began)
                await asyncio.sleep(self._pause())
                self._doubt(began)
        finally:
            led = self._told
            self._until, self._stays = -inf, False
            self._tell()
            if led:
                await self._let_go()

    def _pause(self) -> float:
        """Return when to try again: in time to keep the Lease, or as soon as it may be free."""
        now, retry_s = self._clock(), self.times.retry_s
        if self.leading:
            return max(min(retry_s, self._until - now), _BLINK_S)
        # Two who have waited for the same Lease are not to try at the same time.
        later = 0.2 * retry_s * random.random()  # noqa: S311
        free_in = self._free_at - now
        return later + (free_in if 0 < free_in < retry_s else retry_s)

    def _doubt(self, began: float) -> None:
        """Leave office if this process stood still: nobody knows who has come into it meanwhile."""
        longest = max(self.times.duration_s, self.times.renew_s + 2 * self.times.retry_s)
        if self._clock() - began >= longest:
            self._stays = False
        self._tell()

    async def _try(self) -> None:
        """Take the Lease or renew it; whoever leads has time until it has to step down."""
        began = self._clock()
        ends = self._until if self.leading else began + self.times.renew_s
        try:
            async with asyncio.timeout_at(ends):
                self._stays = await self._holds()
                self._until = began + self.times.renew_s if self._stays else -inf
        except (ClusterError, TimeoutError) as error:
            self._mine = None  # whatever became of it
            self._complain(error)
        else:
            self._problem = ""

    async def _holds(self) -> bool:
        """Write the Lease if it may be written, and say so."""
        lease = self._mine or await self._leases.read()
        self._see(lease)
        holder, _ = self._seen
        if holder not in ("", self.identity) and self._clock() < self._free_at:
            return False
        if lease is None:
            self._mine = await self._leases.create(self._spec({}))
        else:
            self._mine = await self._leases.replace(lease, self._spec(lease.get("spec") or {}))
        self._see(self._mine)
        return True

    def _see(self, lease: Object | None) -> None:
        """Note who holds the Lease, and since when it has been as it is."""
        if lease is None:
            return  # whoever held it may not know yet that it is gone
        spec = lease.get("spec") or {}
        seen = (spec.get("holderIdentity") or "", lease["metadata"]["resourceVersion"])
        if seen != self._seen:
            theirs = float(spec.get("leaseDurationSeconds") or 0)
            self._seen = seen
            self._free_at = self._clock() + max(self.times.duration_s, theirs)

    def _spec(self, before: Mapping[str, Any]) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        ours = before.get("holderIdentity") == self.identity
        times = int(before.get("leaseTransitions") or 0)
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": ceil(self.times.duration_s),
            "acquireTime": before.get("acquireTime", now) if ours else now,
            "renewTime": now,
            "leaseTransitions": times if ours or not before else times + 1,
        }

    def _complain(self, error: ClusterError | TimeoutError) -> None:
        if isinstance(error, ClusterError) and error.status == 409:
            return  # somebody else was faster
        reason = str(error) or "no answer in time"
        if reason != self._problem:
            log.warning("lease out of reach", reason=reason)
        self._problem = reason

    def _tell(self) -> None:
        if self.in_office != self._told:
            self._told = not self._told
            log.info("leading" if self._told else "leading no more", identity=self.identity)
            self._changed(self._told)
        alone = self._told and not self.leading
        if alone and not self._warned:
            log.warning("going on without the lease: nobody else is known to hold it")
        self._warned = alone

    async def _let_go(self) -> None:
        """Leave the Lease to whoever comes first."""
        with suppress(ClusterError, TimeoutError):
            async with asyncio.timeout(self.times.retry_s):
                lease = await self._leases.read()
                spec = (lease or {}).get("spec") or {}
                if lease is not None and spec.get("holderIdentity") == self.identity:
                    await self._leases.replace(
                        lease, {**spec, "holderIdentity": "", "leaseDurationSeconds": 1}
                    )
