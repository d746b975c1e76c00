"""One request of a trace, before anybody decided on its class or when it arrives."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TraceRecord:
    """What a trace says about one request.

    Parameters
    ----------
    request_id
        The trace's own, or its number in the trace, from 0.
    time
        Seconds since the trace's first request; 0 where the format has no times.
    input_tokens, output_tokens
        Lengths of prompt and answer, at least 1.
    prompt, answer
        Their texts; None where the trace has none.
    source
        Stem of the file's name.
    hash_ids
        Mooncake's ids of the prompt's 512-token blocks.
    ttft, tpot, e2e
        Its own limits in seconds; None where it has none.
    priority
        Higher is more urgent.
    max_tokens
        Where its client set a bound on the answer, that.
    """

    request_id: str
    time: float
    input_tokens: int
    output_tokens: int
    source: str
    prompt: str | None = None
    hash_ids: tuple[int, ...] = ()
    slo_class: str | None = None
    ttft: float | None = None
    tpot: float | None = None
    e2e: float | None = None
    priority: int = 0
    tenant: str = ""
    answer: str | None = None
    max_tokens: int | None = None
