"""Carries SLO headers into vLLM: an ASGI middleware that writes them into the request's body."""

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from slosched.core.errors import TagError
from slosched.core.tags import SERVICE_TIER, Headers, Tag, Tagger, to_xargs
from slosched.vllm.edits import Edits
from slosched.vllm.environment import files, settings

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/responses")
_XARGS = "vllm_xargs"
_RESERVED = "slosched_"


class SloMiddleware:
    """Tags what it can read, answers 400 to malformed tags, and leaves all else to vLLM.

    Parameters
    ----------
    app
        The application behind it.
    tagger
        Knows the classes; without one, the configuration that the environment names is loaded,
        and again whenever it is edited.
    """

    def __init__(self, app: App, tagger: Tagger | None = None) -> None:
        self._app = app
        self._edits = Edits([] if tagger else files(), lambda: settings().tagger())
        self._tagger = tagger or settings().tagger()
        self._edits.start()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if not _concerns_us(scope):
            await self._app(scope, receive, send)
            return
        body = await _read(receive)
        if body is None:  # the client is gone
            return
        self._tagger = self._edits.take() or self._tagger
        try:
            tag, body = self._tagged(scope["headers"], body)
        except TagError as error:
            await _refuse(send, error)
            return
        length = str(len(body)).encode()
        headers = [(k, v) for k, v in scope["headers"] if k != b"content-length"]
        scope = {**scope, "headers": [*headers, (b"content-length", length)]}
        await self._app(scope, _replay(body, receive), _announce(tag, send))

    def _tagged(self, headers: Headers, body: bytes) -> tuple[Tag, bytes]:
        """Read the tag; the body comes back with the tag in it, if it is one that can have it."""
        try:
            fields = json.loads(body)
        except ValueError:
            fields = None
        if not isinstance(fields, dict):
            return self._tagger.read(headers), body  # vLLM knows best how to refuse it
        xargs = fields.get(_XARGS) or {}
        if not isinstance(xargs, dict):
            return self._tagger.read(headers), body
        if any(key.startswith(_RESERVED) for key in xargs):
            # The front end has read the headers already, and may have decided otherwise.
            return self._tag_of(xargs), body
        tag = self._tagger.read(headers, fields.get(SERVICE_TIER))
        return tag, json.dumps({**fields, _XARGS: {**xargs, **to_xargs(tag)}}).encode()

    def _tag_of(self, xargs: Mapping[str, object]) -> Tag:
        tag = self._tagger.from_xargs(xargs)
        ours = {key: value for key, value in xargs.items() if key.startswith(_RESERVED)}
        if unknown := ours.keys() - to_xargs(tag).keys():
            raise TagError(f"{_XARGS}.{min(unknown)}", "no such argument")
        return tag


def _concerns_us(scope: Mapping[str, Any]) -> bool:
    if scope["type"] != "http" or scope["method"] != "POST":
        return False
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "")) in PATHS


async def _read(receive: Receive) -> bytes | None:
    chunks = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Receive `body` once; then whatever comes, so that the app sees the client go away."""
    whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return whole.pop() if whole else await receive()

    return replayed


def _announce(tag: Tag, send: Send) -> Send:
    async def announced(message: Message) -> None:
        if message["type"] == "http.response.start":
            header = (b"x-slosched-class", tag.slo_class.encode())
            message = {**message, "headers": [*message.get("headers", ()), header]}
        await send(message)

    return announced


async def _refuse(send: Send, error: TagError) -> None:
    details = {
        "message": str(error),
        "type": "invalid_request_error",
        "param": error.source,
        "code": "invalid_slo",
    }
    body = json.dumps({"error": details}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": body})
