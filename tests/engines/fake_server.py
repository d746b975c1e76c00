"""A fake engine behind a real socket, in a thread of its own, with faults as wanted."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from slosched import LinearLatency
from tests.engines.fake_engine import FakeEngine

FAST = LinearLatency(1e-3, 1e-6, 1e-5, 0.0)


@dataclass
class FakeServer:
    """An OpenAI-compatible server.

    `fault` names what happens to the n-th request, from 0: a status, `garbage`, `cut`, `empty`,
    `hang`, `stream error`, `no usage`, `late usage`, `two at once`, `die`; "" for nothing.
    """

    fault: Callable[[int], str] = lambda _: ""
    latency: LinearLatency = FAST
    owner: str = "vllm"
    extra_metrics: str = ""
    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    begun: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    async def start(self) -> None:
        self.engine = FakeEngine(self.latency)
        self._stepping = asyncio.create_task(self.engine.serve())
        app = web.Application(client_max_size=1 << 30)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/version", self._version)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_post("/v1/completions", self._generate)
        app.router.add_post("/v1/chat/completions", self._generate)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        self._site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await self._site.start()
        self.url = self._site.name.rstrip("/")

    async def stop(self) -> None:
        self._stepping.cancel()
        await self._runner.cleanup()

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response(self.engine.models(owner=self.owner))

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": "0.32.0"})

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(text=self.engine.metrics() + self.extra_metrics)

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        number = len(self.bodies)
        self.bodies.append(body)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self.begun.release()
        fault = self.fault(number)
        if fault.isdecimal():
            error = {"error": {"message": f"fault {fault}", "code": int(fault)}}
            return web.json_response(error, status=int(fault))
        if fault == "die":
            await self._die()
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await answer.prepare(request)
        if fault == "hang":
            await asyncio.Event().wait()
        await self._stream(answer, body, fault)
        return answer

    async def _stream(self, answer: web.StreamResponse, body: dict[str, Any], fault: str) -> None:
        chat = "messages" in body
        prompt = body["messages"][0]["content"].split() if chat else body["prompt"]
        output, held = body["max_tokens"], 0
        if chat:
            await _send(answer, _event({"role": "assistant", "content": ""}, chat=True))
        async for tokens in self.engine.generate(len(prompt), 0 if fault == "empty" else output):
            if fault == "garbage" and tokens == 2:
                await answer.write(b"data: {not json\n\n")
            if fault == "cut" and tokens == 2:
                answer.force_close()
                assert answer._req
                assert answer._req.transport
                answer._req.transport.abort()
                return
            if fault == "stream error" and tokens == 2:
                await _send(answer, {"error": {"message": "out of memory", "code": 500}})
                return
            held += 1
            if fault == "two at once" and tokens % 2 and tokens < output:
                continue
            event = _event({"content": "w " * held} if chat else "w " * held, chat=chat)
            held = 0
            if tokens == output:
                event["choices"][0]["finish_reason"] = "length"
            if body["stream_options"].get("continuous_usage_stats") and not fault.endswith("usage"):
                event["usage"] = {"prompt_tokens": len(prompt), "completion_tokens": tokens}
            await _send(answer, event)
        if fault != "no usage":
            usage = {"prompt_tokens": len(prompt), "completion_tokens": output}
            await _send(answer, {"choices": [], "usage": usage})
        await answer.write(b"data: [DONE]\n\n")

    async def _die(self) -> None:
        await self._site.stop()
        assert self._runner.server
        for handler in list(self._runner.server.connections):
            if handler.transport is not None:
                handler.transport.abort()
        await asyncio.Event().wait()


def _event(piece: object, *, chat: bool) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": None, "delta" if chat else "text": piece}
    return {"choices": [choice], "usage": None}


async def _send(answer: web.StreamResponse, event: object) -> None:
    await answer.write(b"data: " + orjson.dumps(event) + b"\n\n")


@contextmanager
def serving(server: FakeServer) -> Iterator[FakeServer]:
    """Run it in a thread until the block ends."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _end(server: FakeServer) -> None:
    await server.stop()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
