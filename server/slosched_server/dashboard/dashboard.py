"""The live page: what is sent to whoever watches, and to whom."""

import asyncio
import time
from contextlib import aclosing

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from slosched.core.past import Replay
from slosched.dispatch import Dispatcher
from slosched_server.dashboard.broadcast import Broadcast
from slosched_server.dashboard.hindsight import Hindsight, hindsight
from slosched_server.dashboard.pages import SAFE, Pages
from slosched_server.dashboard.picture import MOST_SHOWN, Moment, settings
from slosched_server.dashboard.recent import Recent
from slosched_server.errors import ApiError
from slosched_server.hangup import until_gone
from slosched_server.relay import body_message, send_error
from slosched_server.rules import Rules, RulesInForce

_HINDSIGHT_EVERY_S = 5.0


class Dashboard:
    """Shows what is served to whoever may see metrics; to be closed before the server stops.

    Nothing is worked out while nobody watches, and nothing that takes long on the event loop.

    Parameters
    ----------
    in_force
        The configuration, and who may see it.
    dispatcher
        The queue; None before one engine, which has its own.
    every_s
        Seconds from one picture to the next.
    most_watchers
        How many may watch.

    Attributes
    ----------
    recent
        To be told of each request.
    """

    def __init__(
        self,
        in_force: RulesInForce,
        dispatcher: Dispatcher | None = None,
        *,
        every_s: float = 1.0,
        most_watchers: int = 64,
    ) -> None:
        self.recent = Recent()
        self._in_force, self._dispatcher = in_force, dispatcher
        self._broadcast = Broadcast(self._picture, every_s, most_watchers)
        self._edition = 0
        self._hindsight: Hindsight | None = None
        self._next_hindsight = 0.0
        in_force.listen(self._changed)

    def routes(self) -> list[Route]:
        """Return the routes, all below `/dashboard`."""
        pages = Pages()
        return [
            Route("/dashboard", pages, methods=["GET"]),
            Route("/dashboard/events", _Events(self._in_force, self._broadcast), methods=["GET"]),
            Route("/dashboard/config", self._config, methods=["GET"]),
            Route("/dashboard/{name}", pages, methods=["GET"]),
        ]

    def close(self) -> None:
        """Let everybody go who watches: a server that stops waits for them."""
        self._broadcast.close()

    def _changed(self, _: Rules) -> None:
        self._edition += 1

    async def _config(self, request: Request) -> Response:
        rules = self._in_force.rules
        client = request.client.host if request.client else ""
        rules.access.check_metrics(client, request.headers.raw)
        shown = settings(rules.shown, queue=self._dispatcher is not None)
        shown["edition"] = self._edition
        return Response(orjson.dumps(shown), headers=SAFE, media_type="application/json")

    async def _picture(self) -> bytes:
        now, rules, queue = time.monotonic(), self._in_force.rules, self._dispatcher
        if queue is None:
            return _event(Moment(now, self.recent, rules.shown, self._edition))
        asked = queue.reasons(now)
        view = queue.snapshot(now, MOST_SHOWN)
        reasons = await asyncio.to_thread(asked.explain) if asked else ()
        replay = rules.fleet and rules.fleet.replay
        if replay and now >= self._next_hindsight:
            await self._look_back(queue, replay, now)
        moment = Moment(
            now, self.recent, rules.shown, self._edition, view, reasons, self._hindsight
        )
        return _event(moment)

    async def _look_back(self, queue: Dispatcher, replay: Replay, now: float) -> None:
        self._next_hindsight = now + _HINDSIGHT_EVERY_S
        job = hindsight(self.recent, queue, replay, now)
        self._hindsight = await asyncio.to_thread(job.answer) if job else None


class _Events:
    """The ASGI endpoint of pictures that follow each other, as server-sent events."""

    def __init__(self, in_force: RulesInForce, broadcast: Broadcast) -> None:
        self._in_force, self._broadcast = in_force, broadcast

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send pictures until the client is gone or the server stops."""
        client = scope["client"][0] if scope.get("client") else ""
        try:
            self._in_force.rules.access.check_metrics(client, scope["headers"])
            self._broadcast.check_room()
        except ApiError as error:
            await send_error(error, (), send)
            return
        await until_gone(self._send(send), receive)

    async def _send(self, send: Send) -> None:
        names = {**SAFE, "content-type": "text/event-stream", "x-accel-buffering": "no"}
        headers = [(name.encode(), value.encode()) for name, value in names.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async with aclosing(self._broadcast.watch()) as messages:
            async for message in messages:
                await send(body_message(message, more=True))
        await send(body_message(b"", more=False))


def _event(moment: Moment) -> bytes:
    return b"data: " + orjson.dumps(moment.picture()) + b"\n\n"
