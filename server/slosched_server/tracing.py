"""Traces of requests: who makes spans, and where these go."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind
from opentelemetry.trace import TracerProvider as AnyTracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue
from starlette.types import Scope

from slosched.core.errors import SloschedError
from slosched.version import __version__
from slosched_server.errors import ApiError
from slosched_server.members import Connect
from slosched_server.request_trace import RequestTrace, came_at
from slosched_server.telemetry import TelemetrySettings
from slosched_server.traced_upstream import TracedUpstream
from slosched_server.upstream import Job, Upstream

_OPERATIONS = {"/v1/completions": "text_completion"}
_LONGEST = 256  # characters of an attribute, of which clients choose some
_EXPORT_S = 5.0
_W3C = TraceContextTextMapPropagator()


@contextmanager
def exporting(settings: TelemetrySettings) -> Iterator["Tracing"]:
    """Send spans to a collector, in a thread; on leaving, whatever is left.

    `OTEL_EXPORTER_OTLP_HEADERS` and `OTEL_RESOURCE_ATTRIBUTES` are heeded.
    """
    provider = TracerProvider(
        resource=Resource.create(
            {"service.name": settings.service_name, "service.version": __version__}
        ),
        sampler=ParentBased(TraceIdRatioBased(settings.sample_ratio)),
        span_limits=SpanLimits(max_span_attribute_length=_LONGEST),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(f"{settings.otlp_endpoint}/v1/traces", timeout=_EXPORT_S)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        yield Tracing(provider)
    finally:
        provider.shutdown()


class Tracing:
    """Makes a trace of each request, or goes on with its client's; see `Watcher`."""

    def __init__(self, provider: AnyTracerProvider) -> None:
        self._tracer = provider.get_tracer("slosched", __version__)

    def begin(self, job: Job, scope: Scope) -> None:
        """Begin the span of a request, at its arrival."""
        operation = _OPERATIONS.get(scope["path"], "chat")
        attributes: dict[str, AttributeValue] = {
            **_asked(scope, job.request_id),
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": "vllm",
            "gen_ai.request.model": job.model,
            "gen_ai.request.stream": job.progress.stream,
        }
        if job.size.max_tokens is not None:
            attributes["gen_ai.request.max_tokens"] = job.size.max_tokens
        span = self._tracer.start_span(
            f"{operation} {job.model[:_LONGEST]}".rstrip(), _W3C.extract(_carried(scope)),
            SpanKind.SERVER, attributes, start_time=came_at(job.progress.arrival),
        )  # fmt: skip
        job.trace = RequestTrace(self._tracer, span, job)

    def end(self, job: Job, now: float) -> None:
        """End it."""
        if isinstance(job.trace, RequestTrace):
            job.trace.end(now)

    def refuse(self, error: SloschedError, scope: Scope, request_id: str) -> None:
        """Make the span of a request that got nowhere."""
        status = error.status if isinstance(error, ApiError) else 400
        attributes = {
            **_asked(scope, request_id),
            "http.response.status_code": status,
            "error.type": str(status),
        }
        context = _W3C.extract(_carried(scope))
        self._tracer.start_span("refused", context, SpanKind.SERVER, attributes).end()

    def around(self, upstream: Upstream, url: str) -> Upstream:
        """Return an upstream of which each request has a span, with which its engine goes on."""
        return TracedUpstream(upstream, url)

    def connecting(self, connect: Connect) -> Connect:
        """Return a way to open upstreams that do so."""

        @asynccontextmanager
        async def traced(url: str) -> AsyncIterator[Upstream]:
            async with connect(url) as upstream:
                yield self.around(upstream, url)

        return traced


def _asked(scope: Scope, request_id: str) -> dict[str, AttributeValue]:
    return {
        "http.request.method": scope["method"],
        "url.path": scope["path"],
        "slosched.request_id": request_id,
    }


def _carried(scope: Scope) -> dict[str, str]:
    """Return the headers of a trace that the client began."""
    wanted = (b"traceparent", b"tracestate")
    return {n.decode(): v.decode("latin-1") for n, v in scope["headers"] if n in wanted}
