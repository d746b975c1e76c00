"""The spans of one request, as OpenTelemetry's conventions for generative AI have them."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import isfinite

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue

from slosched.dispatch import Dispatcher
from slosched_server.answer_end import AnswerEnd
from slosched_server.trace import Trace
from slosched_server.upstream import Job, UpstreamError


class RequestTrace(Trace):
    """A span for all of it, below that one for each wait and one for each replica.

    Parameters
    ----------
    tracer
        Makes spans.
    span
        Of the request, begun when it came.
    job
        What it is about.
    """

    __slots__ = ("_context", "_job", "_queue", "_span", "_tracer")

    def __init__(self, tracer: Tracer, span: Span, job: Job) -> None:
        self._tracer, self._span, self._job = tracer, span, job
        self._context: Context = trace.set_span_in_context(span)
        self._queue: Span | None = None

    def waits(self) -> None:
        """Begin the span of its wait."""
        slo = self._job.tag.slo
        known = {
            "slosched.slo_class": self._job.tag.slo_class,
            "slosched.deadline_ms": _ms(min(slo.ttft, slo.e2e)),
        }
        self._queue = self._tracer.start_span("queue", self._context, attributes=_known(known))

    def bound(self, dispatcher: Dispatcher, queued_as: str) -> None:
        """End it, with what the plan that bound the request expected of it."""
        if self._queue is None:
            return
        self._queue.set_attribute("slosched.replica", self._job.progress.replica)
        if (expected := dispatcher.outlook(queued_as)) is not None:
            first, finish = (_ms(at - self._job.progress.arrival) for at in expected)
            said = {"slosched.plan.first_token_ms": first, "slosched.plan.finish_ms": finish}
            self._queue.add_event("plan", _known(said))
        self._queue.end()
        self._queue = None

    @contextmanager
    def attempt(self, address: Mapping[str, AttributeValue]) -> Iterator[Span]:
        """Make the span of a request to a replica, which is at some address."""
        progress = self._job.progress
        numbered = {
            "slosched.replica": progress.replica or None,
            "slosched.attempt": progress.attempts or None,
        }
        span = self._tracer.start_span(
            "replica", self._context, SpanKind.CLIENT, {**address, **_known(numbered)}
        )
        try:
            yield span
        except UpstreamError as error:
            fail(span, type(error).__name__)
            raise
        except BaseException:
            span.set_attribute("error.type", "cancelled")
            raise
        finally:
            span.end()

    def heard(self, end: AnswerEnd) -> None:
        """Note what an answer's end says."""
        said = {
            "gen_ai.usage.input_tokens": end.input_tokens,
            "gen_ai.usage.output_tokens": end.output_tokens,
            "gen_ai.response.finish_reasons": end.finish_reasons or None,
        }
        self._span.set_attributes(_known(said))

    def end(self, now: float) -> None:
        """End all that is open; `now` is on the clock of the request's arrival."""
        job, progress = self._job, self._job.progress
        if self._queue is not None:
            self._queue.set_attribute("error.type", progress.outcome)
            self._queue.end()
        known = {
            "http.response.status_code": progress.status or None,
            "gen_ai.response.time_to_first_chunk": progress.ttft,
            "slosched.slo_class": job.tag.slo_class,
            "slosched.asked_class": job.asked or None,
            "slosched.outcome": progress.outcome,
            "slosched.replica": progress.replica or None,
            "slosched.queue_ms": _ms(progress.queued),
            "slosched.e2e_ms": _ms(now - progress.arrival),
        }
        self._span.set_attributes(_known(known))
        if progress.outcome == "failed":
            fail(self._span, str(progress.status) if progress.status >= 500 else "broken_off")
        elif progress.outcome != "finished":
            status = str(progress.status) if progress.status >= 400 else progress.outcome
            self._span.set_attribute("error.type", status)
        self._span.end()


def fail(span: Span, reason: str) -> None:
    """Say that what a span is about failed."""
    span.set_attribute("error.type", reason)
    span.set_status(StatusCode.ERROR)


def came_at(arrival: float) -> int:
    """Return a moment of the monotonic clock, in seconds, as nanoseconds since 1970."""
    return time.time_ns() - round((time.monotonic() - arrival) * 1e9)


def _ms(seconds: float) -> float | None:
    return round(seconds * 1e3, 3) if isfinite(seconds) else None


def _known(attributes: Mapping[str, AttributeValue | None]) -> dict[str, AttributeValue]:
    return {name: value for name, value in attributes.items() if value is not None}
