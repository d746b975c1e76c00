"""Clients that hang up: whatever is done for them ends then."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from starlette.types import Receive


async def until_gone(doing: Coroutine[Any, Any, None], receive: Receive) -> None:
    """Do something until it is done or the client hangs up, whichever is first."""
    async with asyncio.TaskGroup() as group:
        work = group.create_task(doing)
        watch = group.create_task(_cancel_when_gone(receive, work))
        work.add_done_callback(lambda _: watch.cancel())


async def _cancel_when_gone(receive: Receive, work: asyncio.Task[None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    work.cancel()
