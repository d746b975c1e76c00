"""Traces: one span for a request, below it one for each wait and each replica that is tried."""

import asyncio
import gzip
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, StatusCode

from slosched_server.app import create_app
from slosched_server.http_upstream import HttpUpstream
from slosched_server.rules import Rules, RulesInForce
from slosched_server.settings import ServerSettings
from slosched_server.telemetry import TelemetryError, TelemetrySettings, tracing
from slosched_server.tracing import Tracing
from tests.server.fake_engine import FakeEngine, Seen, answer, die, hang, stream
from tests.server.fleet import COMPLETIONS, ask, fleet
from tests.server.front_end import TAGGER, serving
from tests.simulated_engine.serve import simulated

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CLIENTS = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "a=b"}
SECRET = "what nobody is to read"  # noqa: S105
BODY = {"model": "m", "prompt": SECRET, "max_tokens": 9, "stream": True}
EVENTS = [
    b'data: {"choices":[{"text":"%b","finish_reason":"stop"}]}\n\n' % SECRET.encode(),
    b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":1}}\n\n',
    b"data: [DONE]\n\n",
]


def memory(ratio: float = 1.0) -> tuple[Tracing, InMemorySpanExporter]:
    """Return tracing that keeps its spans here."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(ratio)), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    return Tracing(provider), kept


def by_name(kept: InMemorySpanExporter) -> dict[str, list[ReadableSpan]]:
    named: dict[str, list[ReadableSpan]] = {}
    for span in kept.get_finished_spans():
        named.setdefault(span.name, []).append(span)
    return named


async def posted(client: aiohttp.ClientSession, **headers: str) -> int:
    async with client.post(COMPLETIONS, json=BODY, headers=headers) as got:
        await got.read()
        return got.status


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def span_id(span: ReadableSpan) -> str:
    context = span.get_span_context()
    assert context
    return f"{context.span_id:016x}"


def test_a_request_goes_on_with_its_clients_trace_and_the_engine_with_ours() -> None:
    async def main() -> None:
        traced, kept = memory()
        async with FakeEngine(stream(EVENTS)) as engine:
            async with fleet([engine.url], tracing=traced) as client:
                assert await posted(client, **CLIENTS, **{"x-request-id": "r-1"}) == 200
            seen = next(seen for seen in engine.seen if seen.method == "POST")
        spans = by_name(kept)
        assert spans.keys() == {"text_completion m", "queue", "replica"}
        ((root,), (queue,), (replica,)) = (
            spans[name] for name in ("text_completion m", "queue", "replica")
        )
        assert root.parent
        assert f"{root.parent.span_id:016x}" == PARENT
        assert {f"{s.context.trace_id:032x}" for s in (root, queue, replica)} == {TRACE}
        assert queue.parent
        assert replica.parent
        assert {f"{s.parent.span_id:016x}" for s in (queue, replica) if s.parent} == {span_id(root)}
        assert (root.kind, replica.kind) == (SpanKind.SERVER, SpanKind.CLIENT)
        assert seen.header(b"traceparent") == f"00-{TRACE}-{span_id(replica)}-01".encode()
        assert seen.header(b"tracestate") == b"a=b"
        assert sum(name == b"traceparent" for name, _ in seen.headers) == 1
        known = attributes(root)
        assert {name: known[name] for name in known if name.startswith("gen_ai.")} == {
            "gen_ai.operation.name": "text_completion",
            "gen_ai.provider.name": "vllm",
            "gen_ai.request.model": "m",
            "gen_ai.request.max_tokens": 9,
            "gen_ai.request.stream": True,
            "gen_ai.usage.input_tokens": 7,
            "gen_ai.usage.output_tokens": 1,
            "gen_ai.response.finish_reasons": ("stop",),
            "gen_ai.response.time_to_first_chunk": known["gen_ai.response.time_to_first_chunk"],
        }
        assert known["slosched.request_id"] == "r-1"
        assert known["slosched.outcome"] == "finished"
        assert "error.type" not in known
        assert attributes(replica) == {
            "server.address": "127.0.0.1",
            "server.port": int(engine.url.rpartition(":")[2]),
            "slosched.replica": "r0",
            "slosched.attempt": 1,
            "http.response.status_code": 200,
        }
        assert attributes(queue)["slosched.slo_class"] == known["slosched.slo_class"]
        assert SECRET not in "".join(span.to_json() for span in kept.get_finished_spans())

    asyncio.run(main())


@pytest.mark.parametrize("fails", ["answers 503", "dies"])
def test_a_second_attempt_is_a_second_wait_and_a_second_span(fails: str) -> None:
    async def main() -> None:
        traced, kept = memory()
        reply = die if fails == "dies" else answer(b"{}", 503)
        async with FakeEngine(reply) as broken, FakeEngine(stream(EVENTS)) as well:
            kind = "fleet.assignment={kind: round_robin}"
            async with fleet([broken.url, well.url], kind, tracing=traced) as client:
                while len(by_name(kept).get("replica", ())) < 2:
                    kept.clear()
                    assert await posted(client) == 200
        spans = by_name(kept)
        assert len(spans["queue"]) == 2
        first, second = (attributes(span) for span in spans["replica"])
        assert (first["slosched.attempt"], second["slosched.attempt"]) == (1, 2)
        assert (first["slosched.replica"], second["slosched.replica"]) == ("r0", "r1")
        assert first["error.type"] == ("UpstreamError" if fails == "dies" else "503")
        assert spans["replica"][0].status.status_code is StatusCode.ERROR
        assert "error.type" not in second
        (root,) = spans["text_completion m"]
        assert root.status.status_code is StatusCode.UNSET
        assert attributes(root)["slosched.replica"] == "r1"

    asyncio.run(main())


def test_the_wait_says_what_the_plan_expected() -> None:
    async def main() -> None:
        traced, kept = memory()
        slots = "engine.max_num_seqs=1"
        async with simulated(slots) as one, fleet([one], tracing=traced) as client:
            while not [s for s in by_name(kept).get("queue", ()) if s.events]:
                said = await asyncio.gather(*(ask(client, max_tokens=30) for _ in range(12)))
                assert {status for status, _, _ in said} == {200}
        planned = next(span for span in by_name(kept)["queue"] if span.events)
        (event,) = planned.events
        assert event.name == "plan"
        known: dict[str, Any] = dict(event.attributes or {})
        assert known["slosched.plan.finish_ms"] >= known["slosched.plan.first_token_ms"]

    asyncio.run(main())


def test_who_hangs_up_in_the_queue_leaves_whole_spans() -> None:
    async def main() -> None:
        traced, kept = memory()
        async with FakeEngine(hang) as engine, fleet([engine.url], tracing=traced) as client:
            asking = [asyncio.create_task(posted(client)) for _ in range(5)]
            await _until(lambda: len(_posts(engine)) == 4)
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
            await _until(lambda: len(by_name(kept).get("text_completion m", ())) == 5)
        spans = by_name(kept)
        assert len(spans["queue"]) == 5
        ended = [attributes(span).get("error.type") for span in spans["queue"]]
        assert ended.count("cancelled") == 1
        for span in (*spans["replica"], *spans["text_completion m"]):
            assert attributes(span)["error.type"] == "cancelled"

    asyncio.run(main())


def test_who_is_refused_has_a_span_that_says_so() -> None:
    async def main() -> None:
        traced, kept = memory()
        async with FakeEngine() as engine, fleet([engine.url], tracing=traced) as client:
            assert await posted(client, **{"x-slo-class": SECRET}, **CLIENTS) == 400
        (span,) = kept.get_finished_spans()
        assert span.parent
        assert f"{span.parent.span_id:016x}" == PARENT
        assert attributes(span)["error.type"] == "400"
        assert SECRET not in span.to_json()

    asyncio.run(main())


def test_what_is_not_sampled_costs_no_spans_and_tells_the_engine_so() -> None:
    async def main() -> None:
        traced, kept = memory(ratio=0.0)
        async with FakeEngine() as engine:
            async with fleet([engine.url], tracing=traced) as client:
                assert await posted(client) == 200
                assert await posted(client, **CLIENTS) == 200
            flags = [seen.header(b"traceparent") for seen in engine.seen if seen.method == "POST"]
        assert [int(flag[-2:], 16) & 1 if flag else None for flag in flags] == [0, 1]
        assert len(by_name(kept)["text_completion m"]) == 1  # as its client decided

    asyncio.run(main())


def test_without_tracing_a_clients_trace_goes_to_the_engine_as_it_came() -> None:
    async def main() -> None:
        async with FakeEngine() as engine:
            async with fleet([engine.url]) as client:
                await posted(client, **CLIENTS)
            seen = next(seen for seen in engine.seen if seen.method == "POST")
        assert seen.header(b"traceparent") == CLIENTS["traceparent"].encode()

    asyncio.run(main())


@asynccontextmanager
async def collector() -> AsyncIterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """Take traces by OTLP over HTTP, as a collector does; gives its URL and what came."""
    came: list[ExportTraceServiceRequest] = []

    async def take(request: web.Request) -> web.Response:
        body = await request.read()  # the server has unpacked it, if it was packed
        came.append(ExportTraceServiceRequest.FromString(_unpacked(body)))
        return web.Response(content_type="application/x-protobuf")

    app = web.Application()
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}", came
    finally:
        await runner.cleanup()


def _unpacked(body: bytes) -> bytes:
    return gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body


def test_a_collector_gets_them() -> None:
    """Before one engine, where nothing waits."""

    async def main() -> None:
        exporting = ExitStack()
        async with (
            collector() as (url, came),
            FakeEngine(stream(EVENTS)) as engine,
            HttpUpstream(engine.url, 5.0) as upstream,
        ):
            traced = exporting.enter_context(tracing(TelemetrySettings(url, "front")))
            assert traced
            seen = traced.around(upstream, engine.url)
            in_force = RulesInForce(Rules(TAGGER))
            app = create_app(ServerSettings(), in_force, seen, watchers=[traced])
            async with serving(app) as at, aiohttp.ClientSession(at) as client:
                assert await posted(client) == 200
            await asyncio.to_thread(exporting.close)  # which sends what is left
            resources = [of for one in came for of in one.resource_spans]
            names = {
                attribute.value.string_value
                for of in resources
                for attribute in of.resource.attributes
                if attribute.key == "service.name"
            }
            assert names == {"front"}
            spans = [span for of in resources for scope in of.scope_spans for span in scope.spans]
            assert {span.name for span in spans} == {"text_completion m", "replica"}
            assert len({span.trace_id for span in spans}) == 1
            assert SECRET.encode() not in b"".join(one.SerializeToString() for one in came)

    asyncio.run(main())


def test_by_default_nothing_of_it_is_made() -> None:
    with tracing(TelemetrySettings()) as traced:
        assert traced is None


def test_without_its_packages_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "slosched_server.tracing", None)
    with (
        pytest.raises(TelemetryError, match=r"pip install 'slosched\[otel\]'"),
        tracing(TelemetrySettings("http://127.0.0.1:4318")),
    ):
        pass


def test_who_does_not_trace_imports_nothing_of_it() -> None:
    code = "import slosched_server.run, sys; sys.exit('opentelemetry' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"otlp_endpoint": "127.0.0.1:4318"}, "otlp_endpoint: must be like"),
        ({"service_name": ""}, "service_name: must not be empty"),
        ({"sample_ratio": 1.5}, r"sample_ratio: must be from 0 to 1, got 1\.5"),
    ],
)
def test_settings_have_bounds(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TelemetrySettings(**fields)


def _posts(engine: FakeEngine) -> list[Seen]:
    return [seen for seen in engine.seen if seen.method == "POST"]


async def _until(holds: Any) -> None:
    while not holds():  # noqa: ASYNC110 - spans end without telling anybody
        await asyncio.sleep(0.005)


def test_who_is_shed_waited_in_vain() -> None:
    async def main() -> None:
        traced, kept = memory()
        bound = "fleet.max_wait_s=0.2"
        async with FakeEngine(hang) as engine, fleet([engine.url], bound, tracing=traced) as client:
            asking = [asyncio.create_task(posted(client)) for _ in range(4)]
            await _until(lambda: len(_posts(engine)) == 4)
            assert await posted(client) == 429
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        shed = [
            attributes(span)
            for span in by_name(kept)["text_completion m"]
            if attributes(span)["slosched.outcome"] == "shed"
        ]
        assert [one["error.type"] for one in shed] == ["429"]

    asyncio.run(main())
