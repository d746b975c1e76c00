"""A load on a pool of which every request is accounted for."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from itertools import cycle
from types import TracebackType
from typing import Self

import aiohttp

from tests.cluster.asked import Asked, Outcome, ask

_TURNED_AWAY_S = 0.2
"""Less than Retry-After says, so that the first answer after an outage is seen soon."""
_PATIENCE_S = 120.0
CLASSES = ("interactive", "completion", "batch")


class Load:
    """Clients that ask again as soon as they are answered, while it is entered.

    On leaving, what is on its way is heard to its end.

    Parameters
    ----------
    url
        Of the gateway.
    clients
        How many ask at a time: more than the pool has seats, so that some always wait.
    """

    def __init__(self, url: str, clients: int) -> None:
        self.asked: list[Asked] = []
        self._url, self._clients = url, clients
        self._over = False
        self._random = random.Random(7)
        self._classes = cycle(CLASSES)
        self._news = asyncio.Condition()
        self.sent = 0

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=0)
        self._session = await aiohttp.ClientSession(connector=connector).__aenter__()
        self._tasks = [asyncio.create_task(self._keep_asking()) for _ in range(self._clients)]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._over = True
        if error is not None:
            for task in self._tasks:
                task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()
        for one in ended:
            if isinstance(one, Exception):
                raise one

    async def _keep_asking(self) -> None:
        while not self._over:
            self.sent += 1
            tokens = self._random.randint(10, 50)
            one = await ask(self._session, self._url, next(self._classes), tokens)
            async with self._news:
                self.asked.append(one)
                self._news.notify_all()
            if one.outcome != "answered":
                await asyncio.sleep(_TURNED_AWAY_S)

    async def until(self, check: Callable[[Asked], bool], count: int = 1) -> None:
        """Wait until so many of those that have ended are such."""
        async with asyncio.timeout(_PATIENCE_S), self._news:
            await self._news.wait_for(lambda: sum(map(check, self.asked)) >= count)

    def of(self, outcome: Outcome) -> list[Asked]:
        """Give those that ended in some way."""
        return [one for one in self.asked if one.outcome == outcome]

    def check(self) -> None:
        """Fail unless each that was sent has come to an end that has a name."""
        assert len(self.asked) == self.sent
        hung = self.of("hung")
        assert not hung, hung

    def told(self) -> str:
        """Say what became of all."""
        ends = Counter(one.outcome if one.outcome != "refused" else one.code for one in self.asked)
        return f"{self.sent} sent: " + ", ".join(f"{n} {end}" for end, n in ends.most_common())
