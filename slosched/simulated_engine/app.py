"""A simulated engine's routes, under vLLM's names, and one more: its faults."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from slosched.sim.engine import SimulatedEngine
from slosched.simulated_engine.asked import Chat, Completion, read_chat, read_completion, refusal
from slosched.simulated_engine.faults import Fault, Faults, die
from slosched.simulated_engine.serving import Service
from slosched.version import __version__
from slosched_server.body import ClientGoneError, read_body
from slosched_server.errors import ApiError, plain_http
from slosched_server.hangup import until_gone
from slosched_server.relay import body_message, send_error

_MAX_BODY_BYTES = 64 * 1024 * 1024
_DIE_AFTER_S = 0.02  # so that whoever asked for it hears that it was understood


def create_app(service: Service, engine: SimulatedEngine, fault: Fault | None = None) -> Starlette:
    """Build the application.

    Parameters
    ----------
    fault
        In force from the start.
    """
    routes = _Routes(service, engine)
    if fault is not None:
        routes.break_(fault)
    completions = _Completions(service, routes.faults, read_completion)
    return Starlette(
        routes=[
            Route("/v1/completions", completions, methods=["POST"]),
            Route(
                "/v1/chat/completions",
                _Completions(service, routes.faults, read_chat),
                methods=["POST"],
            ),
            Route("/v1/models", routes.models),
            Route("/health", routes.health),
            Route("/version", routes.version),
            Route("/metrics", routes.metrics),
            Route("/faults", routes.change_fault, methods=["GET", "POST"]),
        ],
        exception_handlers={HTTPException: _plain_http},
    )


class _Completions:
    """The ASGI endpoint of requests that are answered token by token."""

    def __init__(
        self, service: Service, faults: Faults, read: Callable[[bytes], Chat | Completion]
    ) -> None:
        self._service, self._faults, self._read = service, faults, read

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, until the answer or the client ends."""
        await self._faults.awake()
        try:
            if self._faults.refuses:
                raise _refused()
            asked = self._read(await read_body(scope, receive, _MAX_BODY_BYTES))
        except ApiError as error:
            await send_error(error, (), send)
        except ClientGoneError:
            pass
        else:
            await until_gone(self._answer(asked, scope, send), receive)

    async def _answer(self, asked: Chat | Completion, scope: Scope, send: Send) -> None:
        kind = b"text/event-stream; charset=utf-8" if asked.stream else b"application/json"
        begun = False
        try:
            async for piece in self._service.answer(asked, scope["headers"]):
                if not begun:
                    await send(_start(kind))
                    begun = True
                await send(body_message(piece, more=True))
                await self._faults.awake()
        except ApiError as error:
            await send_error(error, (), send)
        else:
            await send(body_message(b"", more=False))


class _Routes:
    """Everything but answers."""

    def __init__(self, service: Service, engine: SimulatedEngine) -> None:
        self.faults = Faults()
        self._service, self._engine = service, engine
        self._began = int(time.time())

    async def models(self, _: Request) -> Response:
        await self.faults.awake()
        model = {
            "id": self._service.model, "object": "model", "created": self._began,
            "owned_by": "slosched-simulated-engine", "root": self._service.model,
            "max_model_len": self._service.max_model_len,
        }  # fmt: skip
        return _json({"object": "list", "data": [model]})

    async def health(self, _: Request) -> Response:
        await self.faults.awake()
        return Response(status_code=503 if self.faults.refuses else 200)

    async def version(self, _: Request) -> Response:
        await self.faults.awake()
        return _json({"version": f"{__version__}+simulated"})

    async def metrics(self, _: Request) -> Response:
        await self.faults.awake()
        page = generate_latest(self._service.metrics.registry)
        return Response(page, media_type=CONTENT_TYPE_LATEST)

    async def change_fault(self, request: Request) -> Response:
        """Tell the fault in force, or put another one in force: works while it hangs, too."""
        if request.method == "POST":
            try:
                self.break_(Fault.model_validate_json(await request.body()))
            except ValidationError as error:
                return refusal(error).response()
        return _json(self.faults.fault.model_dump())

    def break_(self, fault: Fault) -> None:
        """Put a fault in force; it takes the place of the one before."""
        hung = self.faults.hangs
        self.faults.change(fault)
        if fault.kind == "die":
            asyncio.get_running_loop().call_later(_DIE_AFTER_S, die)
        self._engine.go_slower(fault.factor if fault.kind == "slow" else 1.0)
        if fault.kind == "hang":
            self._service.driver.stop()
        elif hung:
            self._service.driver.go_on()


def _refused() -> ApiError:
    return ApiError(503, "refused: a fault that was asked for", "fault", kind="api_error")


def _start(kind: bytes) -> dict[str, Any]:
    return {"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]}


def _json(content: object) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")


async def _plain_http(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = error.detail if isinstance(error, HTTPException) else "Internal Server Error"
    return plain_http(status, detail).response()
