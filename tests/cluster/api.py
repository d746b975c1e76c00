"""A small client of the Kubernetes API: any kind of object, as plain dictionaries."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

Object = dict[str, Any]
NAMESPACE = "default"
_ASK_AGAIN_S = 0.2


class ApiError(Exception):
    """The server said no."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Api:
    """One user's connection to the API server; `connected` may be cleared to cut it.

    While cut, requests wait, and nothing of what is watched is heard. Who is patient asks again
    until the server is there, as parts of a cluster do.
    """

    def __init__(
        self,
        url: str,
        context: ssl.SSLContext,
        token: str | None = None,
        *,
        patient: bool = False,
    ) -> None:
        self.url = url
        self._patient = patient
        self.connected = asyncio.Event()
        self.connected.set()
        self._context = context
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._resources: dict[tuple[str, str], Object] = {}

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            self.url,
            headers=self._headers,
            connector=aiohttp.TCPConnector(ssl=self._context, limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5.0),
            read_bufsize=2**24,  # an event of a watch is one line
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        kind: str = "json",
        query: Mapping[str, str] | None = None,
    ) -> Object:
        """Ask; `kind` is that of the body: json, apply-patch+yaml, merge-patch+json."""
        while True:
            try:
                return await self._ask(method, path, body, kind, query)
            except (aiohttp.ClientError, TimeoutError):
                if not self._patient:
                    raise
            except ApiError as error:
                if not self._patient or error.status < 500:
                    raise
            await asyncio.sleep(_ASK_AGAIN_S)

    async def _ask(
        self,
        method: str,
        path: str,
        body: Object | None,
        kind: str,
        query: Mapping[str, str] | None,
    ) -> Object:
        await self.connected.wait()
        async with self._session.request(
            method,
            path,
            params=query or {},
            data=None if body is None else orjson.dumps(body),
            headers={"Content-Type": f"application/{kind}"},
            timeout=aiohttp.ClientTimeout(total=30.0),
        ) as response:
            raw = await response.read()
            if response.status >= 400:
                raise ApiError(response.status, _message(raw))
            found: Object = orjson.loads(raw)
            return found

    async def path(
        self, api_version: str, kind: str, namespace: str | None = NAMESPACE, name: str = ""
    ) -> str:
        """Give the path of an object, or of all of its kind; no namespace means all of them."""
        root = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
        if (api_version, kind) not in self._resources:
            found = await self.request("GET", root)
            for resource in found["resources"]:
                if "/" not in resource["name"]:
                    self._resources[api_version, resource["kind"]] = resource
        resource = self._resources.get((api_version, kind))
        if resource is None:
            raise ApiError(404, f"the server knows no {kind} in {api_version}")
        within = f"/namespaces/{namespace}" if resource["namespaced"] and namespace else ""
        return f"{root}{within}/{resource['name']}" + (f"/{name}" if name else "")

    async def apply(self, objects: Iterable[Object], namespace: str = NAMESPACE) -> None:
        """Create or change objects, in their order; a definition of a kind is waited for."""
        for item in objects:
            meta = item["metadata"]
            place = meta.get("namespace", namespace)
            path = await self.path(item["apiVersion"], item["kind"], place, meta["name"])
            await self.request(
                "PATCH", path, item, "apply-patch+yaml", {"fieldManager": "tests", "force": "true"}
            )
            if item["kind"] == "CustomResourceDefinition":
                await self._until_established(path)

    async def get(
        self, api_version: str, kind: str, name: str, namespace: str = NAMESPACE
    ) -> Object:
        """Read one object."""
        return await self.request("GET", await self.path(api_version, kind, namespace, name))

    async def find(
        self, api_version: str, kind: str, namespace: str | None = NAMESPACE, **selectors: str
    ) -> list[Object]:
        """Read those that selectors such as `labelSelector="app=vllm"` name."""
        path = await self.path(api_version, kind, namespace)
        found: list[Object] = (await self.request("GET", path, query=selectors))["items"]
        return found

    async def patch(
        self, api_version: str, kind: str, name: str, change: Object, namespace: str = NAMESPACE
    ) -> Object:
        """Merge a change into an object."""
        path = await self.path(api_version, kind, namespace, name)
        return await self.request("PATCH", path, change, "merge-patch+json")

    async def delete(
        self,
        api_version: str,
        kind: str,
        name: str,
        namespace: str = NAMESPACE,
        grace_s: int | None = None,
    ) -> None:
        """Delete an object; a pod ends within its own grace period, or within this."""
        options: Object = {} if grace_s is None else {"gracePeriodSeconds": grace_s}
        path = await self.path(api_version, kind, namespace, name)
        await self.request("DELETE", path, options | {"propagationPolicy": "Background"})

    async def follow(
        self, api_version: str, kind: str, namespace: str | None = NAMESPACE, **selectors: str
    ) -> AsyncIterator[dict[str, Object]]:
        """Give all objects by uid, again after each change; lists again after a lost watch."""
        path = await self.path(api_version, kind, namespace)
        while True:
            found = await self.request("GET", path, query=selectors)
            objects = {item["metadata"]["uid"]: item for item in found["items"]}
            yield objects
            version = found["metadata"]["resourceVersion"]
            async with aclosing(self._events(path, resourceVersion=version, **selectors)) as events:
                async for event in events:
                    uid = event["object"]["metadata"]["uid"]
                    if event["type"] == "DELETED":
                        objects.pop(uid, None)
                    else:
                        objects[uid] = event["object"]
                    yield objects

    async def _until_established(self, path: str) -> None:
        for _ in range(600):
            if _established(await self.request("GET", path)):
                return
            await asyncio.sleep(0.05)
        raise TimeoutError(f"{path} is not served")

    async def _events(self, path: str, **query: str) -> AsyncGenerator[Object, None]:
        try:
            async with self._session.get(path, params=query | {"watch": "true"}) as response:
                if response.status >= 400:
                    await asyncio.sleep(_ASK_AGAIN_S)
                    return
                async for line in response.content:
                    await self.connected.wait()
                    event = orjson.loads(line)
                    if event["type"] == "ERROR":
                        return
                    yield event
        except aiohttp.ClientError:
            await asyncio.sleep(_ASK_AGAIN_S)


def _established(definition: Object) -> bool:
    conditions = definition.get("status", {}).get("conditions") or []
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)


def _message(raw: bytes) -> str:
    try:
        return str(orjson.loads(raw)["message"])
    except (ValueError, KeyError, TypeError):
        return raw.decode(errors="replace")
