"""Which limits an answer broke."""

from slosched_server.upstream import Job


def broken_limits(job: Job, now: float) -> list[str]:
    """Name those of ttft, tpot and e2e that a request had broken by `now`, s.

    An answer that is not streamed has no first token that could be late. One that is, and has
    none yet, has waited until now at least.
    """
    progress, slo = job.progress, job.tag.slo
    e2e = now - progress.arrival
    ttft = progress.ttft
    if ttft is None:
        ttft = e2e if progress.stream else 0.0
    times = (("ttft", ttft), ("tpot", progress.tpot or 0.0), ("e2e", e2e))
    return [name for name, seconds in times if seconds > getattr(slo, name)]
