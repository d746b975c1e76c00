"""A fake of the cluster's API: lists, watches and writes as the real one has them, and faults.

It holds objects to nothing: there are no schemas, no rights and no controllers.
"""

import asyncio
import json
import re
import ssl
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from slosched_server.kubernetes.kinds import LEASES, OBJECTIVES, PODS, POOLS, SLICES, Kind

_PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/(?P<version>[^/]+)/namespaces/(?P<namespace>[^/]+)"
    r"/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?(?:/status)?"
)
Json = dict[str, Any]


class FakeApi:
    """Serves on a free port while it is open.

    Attributes
    ----------
    kinds
        What it has; anything else is not found.
    forbidden
        Of these, what nobody may see.
    asked
        Each request that came: method, path and query.
    failures
        So many requests to come are answered 500.
    delay_s
        Before each answer.
    frozen
        Watches say nothing.
    dead
        They do not end either.
    hasty
        Watches end as soon as they begin.
    token
        Who does not show this one is not authorised.
    """

    def __init__(self, tls: ssl.SSLContext | None = None, token: str = "") -> None:
        self.kinds: set[Kind] = {PODS, SLICES, POOLS, LEASES, *OBJECTIVES}
        self.forbidden: set[Kind] = set()
        self.asked: list[tuple[str, str, Mapping[str, str]]] = []
        self.failures = 0
        self.delay_s = 0.0
        self.frozen = self.dead = self.hasty = False
        self.token, self._tls = token, tls
        self._objects: dict[tuple[Kind, str, str], Json] = {}
        self._version, self._oldest = 1, 0
        self._history: list[tuple[int, tuple[Kind, str], Json | None, Json | None]] = []
        self._news = asyncio.Event()
        self._watches: list[web.Request] = []

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        await self._runner.cleanup()

    @property
    def port(self) -> int:
        port: int = self._runner.addresses[0][1]
        return port

    @property
    def watched(self) -> int:
        """Watches that are open."""
        return len(self._watches)

    def items(self, kind: Kind) -> list[Json]:
        """Return all objects of a kind."""
        return [item for (its, _, _), item in self._objects.items() if its == kind]

    def kubeconfig(self, folder: Path) -> Path:
        path = folder / f"kubeconfig-{self.port}"
        context = {"cluster": "fake", "user": "nobody"}
        cluster = {"server": f"http://127.0.0.1:{self.port}"}
        config = {
            "current-context": "fake",
            "contexts": [{"name": "fake", "context": context}],
            "clusters": [{"name": "fake", "cluster": cluster}],
            "users": [{"name": "nobody", "user": {}}],
        }
        path.write_text(json.dumps(config))
        return path

    # -- faults --------------------------------------------------------------------------------

    def cut(self) -> None:
        """Break all watches off."""
        for request in list(self._watches):
            if request.transport is not None:
                request.transport.abort()

    def expire(self) -> None:
        """Forget all history: open watches are told so, and those to come if they ask for it."""
        self._oldest = self._version = self._version + 1
        self._history.clear()
        self._wake()

    # -- answers -------------------------------------------------------------------------------

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.method, request.path, dict(request.query)))
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        match = _PATH.fullmatch(request.path)
        kind = Kind(match["group"] or "", match["version"], match["plural"]) if match else None
        if (refused := self._refused(request)) is not None:
            return refused
        if match is None or kind not in self.kinds:
            return _status(404, "the server could not find the requested resource")
        if kind in self.forbidden:
            return _status(403, f"{kind.called} is forbidden")
        namespace, name = match["namespace"], match["name"]
        if request.method == "GET" and name is None:
            if "watch" in request.query:
                return await self._watch(request, kind, namespace)
            return self._list(request, kind, namespace)
        body = await request.json() if request.can_read_body else {}
        name = name or body["metadata"]["name"]
        return self._one(request.method, (kind, namespace, name), body)

    def _refused(self, request: web.Request) -> web.Response | None:
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            return _status(401, "Unauthorized")
        if self.failures:
            self.failures -= 1
            return _status(500, "etcd is away")
        return None

    def _list(self, request: web.Request, kind: Kind, namespace: str) -> web.Response:
        items = [
            item
            for (its, where, _), item in self._objects.items()
            if (its, where) == (kind, namespace) and _selected(item, request.query)
        ]
        return web.json_response(
            {"metadata": {"resourceVersion": str(self._version)}, "items": items}
        )

    def _one(self, method: str, key: tuple[Kind, str, str], body: Json) -> web.Response:
        old = self._objects.get(key)
        if method == "POST":
            if old is not None:
                return _status(409, "AlreadyExists")
            body["metadata"]["uid"] = f"uid-{self._version}"
            return self._store(key, body)
        if old is None:
            return _status(404, "not found")
        said = body.get("metadata", {}).get("resourceVersion")
        if said not in (None, old["metadata"]["resourceVersion"]):
            return _status(409, "the object has been modified")
        if method == "GET":
            return web.json_response(old)
        made = {"PUT": body, "PATCH": _merged(old, body), "DELETE": None}
        return self._store(key, made[method])

    def _store(self, key: tuple[Kind, str, str], new: Json | None) -> web.Response:
        self._version += 1
        old = self._objects.pop(key, None)
        stored = deepcopy(new if new is not None else old or {})
        stored["metadata"]["resourceVersion"] = str(self._version)
        if new is not None:
            self._objects[key] = stored
        self._history.append((self._version, key[:2], old, None if new is None else stored))
        self._wake()
        return web.json_response(stored)

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def _watch(self, request: web.Request, kind: Kind, namespace: str) -> web.StreamResponse:
        query = request.query
        version = int(query["resourceVersion"])
        response = web.StreamResponse()
        await response.prepare(request)
        if self.hasty:
            return response
        self._watches.append(request)
        try:
            async with asyncio.timeout(None if self.dead else float(query["timeoutSeconds"])):
                while True:
                    news = self._news
                    if version < self._oldest:
                        gone = {"code": 410, "message": "too old resource version"}
                        await response.write(_event("ERROR", gone))
                        return response
                    for at, where, old, new in [] if self.frozen else self._history:
                        if at > version and where == (kind, namespace):
                            version = at
                            if (line := _change(at, old, new, query)) is not None:
                                await response.write(line)
                    await (asyncio.Event() if self.dead else news).wait()
        except TimeoutError:
            # What the version is by now, so that the next watch need not ask for more.
            version = version if self.frozen else self._version
            mark = {"metadata": {"resourceVersion": str(version)}}
            await response.write(_event("BOOKMARK", mark))
            return response
        finally:
            self._watches.remove(request)


def _change(at: int, old: Json | None, new: Json | None, query: Mapping[str, str]) -> bytes | None:
    """Write a change as whoever selects sees it: what is selected no more has been deleted."""
    was, is_ = (item is not None and _selected(item, query) for item in (old, new))
    if is_:
        return _event("MODIFIED" if was else "ADDED", new or {})
    if not was:
        return None
    last = deepcopy(old or {})
    last["metadata"]["resourceVersion"] = str(at)
    return _event("DELETED", last)


def _selected(item: Json, query: Mapping[str, str]) -> bool:
    labels = item["metadata"].get("labels") or {}
    for term in filter(None, query.get("labelSelector", "").split(",")):
        key, _, value = term.partition("=")
        if labels.get(key) != value:
            return False
    _, _, name = query.get("fieldSelector", "").partition("metadata.name=")
    return name in ("", item["metadata"]["name"])


def _merged(old: Any, patch: Any) -> Any:
    """Merge as RFC 7386 does."""
    if not isinstance(patch, dict):
        return patch
    made = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            made.pop(key, None)
        else:
            made[key] = _merged(made.get(key), value)
    return made


def _event(what: str, item: Json) -> bytes:
    return json.dumps({"type": what, "object": item}).encode() + b"\n"


def _status(code: int, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "code": code, "message": message}, status=code)
