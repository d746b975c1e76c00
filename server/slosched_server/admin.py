"""The routes by which somebody with an admin key looks after replicas and settings."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from slosched.core.errors import SloschedError
from slosched_server.body import read_body, read_object
from slosched_server.control import Control
from slosched_server.errors import ApiError, bad_request, conflict, not_found
from slosched_server.members import Members

_LIMIT_BYTES = 64 * 1024
Handler = Callable[[Request], Awaitable[Response]]


class Admin:
    """What may be done while the front end serves.

    Parameters
    ----------
    control
        Reads configuration, and says who may do this.
    members
        The replicas; None before one engine.
    """

    def __init__(self, control: Control, members: Members | None) -> None:
        self._control, self._members = control, members

    def routes(self) -> list[Route]:
        """Return the routes, all below `/slosched`."""
        routes = [
            ("/slosched/config", self._config, "GET"),
            ("/slosched/config", self._edit, "PUT"),
        ]
        if self._members is not None:
            one = "/slosched/replicas/{name:path}"
            routes += [
                ("/slosched/replicas", self._replicas, "GET"),
                ("/slosched/replicas", self._add, "POST"),
                (f"{one}/drain", self._drain, "POST"),
                (f"{one}/resume", self._resume, "POST"),
                (one, self._remove, "DELETE"),
            ]
        return [Route(path, self._guarded(handler), methods=[m]) for path, handler, m in routes]

    def _guarded(self, handler: Handler) -> Handler:
        async def checked(request: Request) -> Response:
            try:
                self._control.in_force.rules.access.check_admin(request.headers.raw)
                return await handler(request)
            except ApiError as error:
                return error.response()
            except SloschedError as error:
                return bad_request(str(error)).response()

        return checked

    # -- settings ------------------------------------------------------------------------------

    async def _config(self, _: Request) -> Response:
        return _json({"config": self._control.in_force.rules.shown, "edits": self._control.edits})

    async def _edit(self, request: Request) -> Response:
        edits = (await _fields(request)).get("edits")
        if not isinstance(edits, list) or not all(isinstance(edit, str) for edit in edits):
            raise bad_request("edits: must be a list of strings such as a.b=c", "edits")
        self._control.edit(edits)
        return await self._config(request)

    # -- replicas ------------------------------------------------------------------------------

    async def _replicas(self, _: Request) -> Response:
        return _json({"replicas": self._fleet.view(time.monotonic())})

    async def _add(self, request: Request) -> Response:
        member = self._control.source.member(await _fields(request))
        try:
            await self._fleet.add(member, "admin")
        except ValueError as error:
            raise conflict(str(error)) from None
        return _json({"name": member.replica.name, "url": member.url}, 201)

    async def _drain(self, request: Request) -> Response:
        return self._done(request, self._fleet.drain)

    async def _resume(self, request: Request) -> Response:
        return self._done(request, self._fleet.resume)

    async def _remove(self, request: Request) -> Response:
        return self._done(request, self._fleet.remove)

    @property
    def _fleet(self) -> Members:
        assert self._members is not None  # noqa: S101  (else there is no such route)
        return self._members

    def _done(self, request: Request, change: Callable[[str], None]) -> Response:
        name = request.path_params["name"]
        if name not in self._fleet.urls:
            raise not_found(f"no replica {name!r}; there are: {', '.join(self._fleet.urls)}")
        change(name)
        return _json({"name": name}, 202)


async def _fields(request: Request) -> dict[str, Any]:
    return read_object(await read_body(request.scope, request.receive, _LIMIT_BYTES))


def _json(content: object, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")
