"""An engine of which each request has a span; the engine goes on with the trace."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from urllib.parse import urlsplit

from opentelemetry.trace import Span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from slosched_server.answer_end import AnswerEnd
from slosched_server.request_trace import RequestTrace, fail
from slosched_server.upstream import RawHeaders, Upstream, UpstreamAnswer, UpstreamRequest

_W3C = TraceContextTextMapPropagator()
_OURS = (b"traceparent", b"tracestate")


class TracedUpstream:
    """Makes the spans.

    Parameters
    ----------
    upstream
        Who answers.
    url
        Where that is.
    """

    def __init__(self, upstream: Upstream, url: str) -> None:
        self._upstream = upstream
        parts = urlsplit(url)
        self._address: dict[str, AttributeValue] = {
            "server.address": parts.hostname or "",
            "server.port": parts.port or (443 if parts.scheme == "https" else 80),
        }

    def send(self, request: UpstreamRequest) -> AbstractAsyncContextManager[UpstreamAnswer]:
        """Send a request and stream its answer; see `Upstream`."""
        if request.job is not None and isinstance(request.job.trace, RequestTrace):
            return self._traced(request, request.job.trace)
        return self._upstream.send(request)

    @asynccontextmanager
    async def _traced(
        self, request: UpstreamRequest, trace: RequestTrace
    ) -> AsyncIterator[UpstreamAnswer]:
        with trace.attempt(self._address) as span:
            sent = replace(request, headers=_continued(request.headers, span))
            async with self._upstream.send(sent) as answer:
                span.set_attribute("http.response.status_code", answer.status)
                if answer.status >= 400:
                    fail(span, str(answer.status))
                end = AnswerEnd()
                yield replace(answer, body=end.of(answer.body))
                trace.heard(end)


def _continued(headers: RawHeaders, span: Span) -> RawHeaders:
    """Return headers by which an engine goes on with a span's trace."""
    carried: dict[str, str] = {}
    _W3C.inject(carried, set_span_in_context(span))
    others = [pair for pair in headers if pair[0] not in _OURS]
    return [*others, *((name.encode(), value.encode()) for name, value in carried.items())]
