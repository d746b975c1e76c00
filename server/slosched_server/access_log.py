"""A line for each request: what it was, what became of it, and how long that took."""

import structlog
from starlette.types import Scope

from slosched.core.errors import SloschedError
from slosched_server.errors import ApiError
from slosched_server.upstream import Job

log = structlog.get_logger()

_MALFORMED = 400


class AccessLog:
    """Writes them; no line has what was asked or answered, nor any key."""

    def begin(self, job: Job, scope: Scope) -> None:
        """Write nothing yet."""
        del job, scope

    def end(self, job: Job, now: float) -> None:
        """Write of a request that is over."""
        progress, tag = job.progress, job.tag
        log.info(
            "request",
            request_id=job.request_id,
            slo_class=tag.slo_class,
            asked_class=job.asked or tag.slo_class,
            tenant=tag.tenant,
            outcome=progress.outcome,
            status=progress.status or None,
            replica=progress.replica or None,
            attempts=progress.attempts,
            queue_ms=_ms(progress.queued),
            ttft_ms=_ms(progress.ttft),
            tpot_ms=_ms(progress.tpot),
            e2e_ms=_ms(now - progress.arrival),
            input_tokens=job.size.input_tokens,
            output_tokens=progress.tokens or progress.events or None,
        )

    def refuse(self, error: SloschedError, scope: Scope, request_id: str) -> None:
        """Write of one that was refused at the door; its error names what is wrong with it."""
        del scope
        status = error.status if isinstance(error, ApiError) else _MALFORMED
        log.info("request", request_id=request_id, outcome="rejected", status=status)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1e3, 3)
