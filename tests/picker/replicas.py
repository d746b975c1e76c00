"""Simulated engines behind HTTP that keep in which order requests reach them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.simulated_engine.serve import PROFILE, simulated

SLOTS = 4


@dataclass
class Replica:
    """One that serves.

    Parameters
    ----------
    came
        Told of each request.
    url
        Where it is.
    arrived
        Ids of requests, in the order in which they came.
    open
        Those that have come wait for it before the engine gets them.
    """

    came: Callable[[str], None]
    url: str = ""
    arrived: list[str] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def address(self) -> str:
        return self.url.removeprefix("http://")

    def around(self, app: Any) -> Any:
        async def noted(scope: Any, receive: Any, send: Any) -> None:
            if scope["method"] == "POST":
                headers = dict(scope["headers"])
                self.arrived.append(headers[b"x-request-id"].decode())
                self.came(self.arrived[-1])
                await self.open.wait()
            await app(scope, receive, send)

        return noted


@asynccontextmanager
async def replicas(
    folder: Path,
    number: int,
    *overrides: str,
    speed: float = 20.0,
    is_open: bool = True,
    came: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[Sequence[Replica]]:
    """Serve with some; steps take 20 ms over `speed`."""
    profile = folder / "profile.yaml"
    profile.write_text(PROFILE)
    settings = f"engine.profile={profile}", f"engine.max_num_seqs={SLOTS}", *overrides
    made = [Replica(came) for _ in range(number)]
    async with AsyncExitStack() as stack:
        for one in made:
            if is_open:
                one.open.set()
            serving = simulated(*settings, speed=speed, around=one.around)
            one.url = await stack.enter_async_context(serving)
        yield made
