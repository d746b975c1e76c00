"""The objects of one kind as they are now: listed once, then watched."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

import structlog

from slosched_server.kubernetes.api import Api, ClusterError
from slosched_server.kubernetes.backoff import Backoff
from slosched_server.kubernetes.kinds import Kind, Object

log = structlog.get_logger()

_SHORT_S = 1.0  # a watch that ends so soon, without a word, is no watch


@dataclass(frozen=True, slots=True)
class WatchTimes:
    """How patient a watch is; seconds.

    Parameters
    ----------
    lasts_s
        After which a watch is asked for anew. What dies without a word is noticed then.
    retry_s, most_s
        After a failure, and after many.
    missing_s
        Until a kind is looked for again that the cluster does not have.
    doubts_s
        For which the cluster has to say so before it is believed, where there were objects: a
        server that has just been started does not know of custom kinds yet.
    """

    lasts_s: float = 45.0
    retry_s: float = 0.25
    most_s: float = 8.0
    missing_s: float = 30.0
    doubts_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of lists and watches, by kind."""

    relists: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)


class Watch:
    """Knows the objects of one kind in one namespace.

    As long as the API is away, what was known last stays. A watch that ends as it was asked to is
    asked for anew from where it ended; one that is lost any other way, or whose history is gone
    (410), begins with a list again, so that no event that was missed is missed for long.

    Parameters
    ----------
    api, kind, namespace
        Where they are.
    query
        Which of them: `labelSelector`, `fieldSelector`.
    changed
        Called whenever there may be something new in `objects`; many times in a row at times.
    times
        How patient it is.
    tally
        Counts lists and failures.

    Attributes
    ----------
    objects
        By name.
    synced
        Set once they are known; a kind that the cluster does not have has none.
    """

    def __init__(
        self,
        api: Api,
        kind: Kind,
        namespace: str,
        changed: Callable[[], None],
        query: dict[str, str] | None = None,
        *,
        times: WatchTimes | None = None,
        tally: Tally | None = None,
    ) -> None:
        self.kind = kind
        self._api, self._path, self._query = api, kind.path(namespace), query or {}
        self._changed, self._times = changed, times or WatchTimes()
        self._tally = tally or Tally()
        self._backoff = Backoff(self._times.retry_s, self._times.most_s)
        self._problem = ""
        self._absent_since: float | None = None
        self.objects: dict[str, Object] = {}
        self.synced = asyncio.Event()

    async def run(self) -> NoReturn:
        """Keep the objects up to date until cancelled."""
        while True:
            try:
                version = await self._list()
                while True:
                    version = await self._follow(version)
            except ClusterError as error:
                if error.status == 404 and self._is_absent():
                    await asyncio.sleep(self._times.missing_s)
                    continue
                if error.status != 404:
                    self._absent_since = None
                self._failed(error)
                await asyncio.sleep(self._backoff.wait_s())

    async def _list(self) -> str:
        answer = await self._api.ask("GET", self._path, self._query)
        try:
            found = {item["metadata"]["name"]: item for item in answer["items"]}
            version: str = answer["metadata"]["resourceVersion"]
        except (LookupError, TypeError) as error:
            raise ClusterError(f"GET {self._path}: no list was answered: {error!r}") from error
        self._tally.relists[self.kind.called] += 1
        self._absent_since = None
        if self._problem:
            log.info("watched again", kind=self.kind.called)
            self._problem = ""
        self._know(found)
        return version

    async def _follow(self, version: str) -> str:
        """Take changes in from a version on; return the version that a watch ended with."""
        clock = asyncio.get_running_loop().time
        lasts_s = self._times.lasts_s * random.uniform(0.75, 1.0)  # noqa: S311 - not all at once
        began, heard = clock(), False
        query = {
            **self._query,
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(max(round(lasts_s), 1)),
        }
        async with self._api.lines(self._path, query, lasts_s) as lines:
            async for line in lines:
                version = self._take(json.loads(line))
                if not heard:
                    self._backoff.reset()
                heard = True
        if not heard and clock() - began < min(_SHORT_S, lasts_s / 2):
            raise ClusterError(f"GET {self._path}: the watch ended at once")
        return version

    def _take(self, event: Object) -> str:
        """Take one event in; return the version that it leads to."""
        try:
            what, item = event["type"], event["object"]
            if what == "ERROR":
                reason = f"{item.get('code', 0)} {item.get('message', 'error')}"
                raise ClusterError(f"GET {self._path}: {reason}", int(item.get("code", 0)))
            version, name = item["metadata"]["resourceVersion"], item["metadata"].get("name")
            if what in ("ADDED", "MODIFIED"):
                self.objects[name] = item
            elif what == "DELETED":
                self.objects.pop(name, None)
        except (LookupError, TypeError, AttributeError) as error:
            raise ClusterError(f"GET {self._path}: no event was sent: {error!r}") from error
        if what != "BOOKMARK":
            self._changed()
        return str(version)

    def _is_absent(self) -> bool:
        """Believe, or not yet, that the cluster does not have this kind."""
        now = asyncio.get_running_loop().time()
        if self._absent_since is None:
            self._absent_since = now
        if self.objects and now - self._absent_since < self._times.doubts_s:
            return False
        if not self.synced.is_set() or self.objects:
            log.info("the cluster has no such kind", kind=self.kind.called)
        self._know({})
        return True

    def _know(self, found: dict[str, Object]) -> None:
        fresh = not self.synced.is_set() or found != self.objects
        self.objects = found
        self.synced.set()
        if fresh:
            self._changed()

    def _failed(self, error: ClusterError) -> None:
        if error.status == 410:  # as is bound to happen to whoever was away for long
            return
        self._tally.failures[self.kind.called] += 1
        if str(error) != self._problem:
            log.warning("not watched, what was known stays", reason=str(error))
            self._problem = str(error)
