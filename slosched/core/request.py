"""A request as every part but the simulator sees it, and as a trace records it."""

from dataclasses import dataclass, field

from slosched.core.slo import Slo
from slosched.core.transcript import Transcript


@dataclass(frozen=True, slots=True)
class Request:
    """One request to generate text; its true output length is not part of it (law 5).

    Parameters
    ----------
    request_id
        Unique among live requests.
    arrival
        Seconds, on the clock of whoever schedules it.
    input_tokens
        Prompt length, at least 1.
    slo, slo_class
        What it asked for, and the name of the class it asked by ("" for explicit targets).
    max_tokens
        Upper bound on the output that the client set, if any.
    priority
        Higher is more urgent; used by the `priority` policy alone.
    transcript
        Where its texts can be read while it is served; None where there are none.
    """

    request_id: str
    arrival: float
    input_tokens: int
    slo: Slo
    slo_class: str = ""
    tenant: str = ""
    max_tokens: int | None = None
    priority: int = 0
    prompt: str | None = None
    transcript: Transcript | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.input_tokens < 1:
            raise ValueError(f"input_tokens must be at least 1, got {self.input_tokens}")


@dataclass(frozen=True, slots=True)
class TracedRequest:
    """A request out of a trace, with the output length that was recorded.

    Parameters
    ----------
    request
        What the scheduler is told.
    output_tokens
        What only the simulated engine and the oracle may know, at least 1.
    source
        Stem of the file that it came from; class rules match on it.
    hash_ids
        Mooncake's ids of the prompt's 512-token blocks, for prefix reuse.
    """

    request: Request
    output_tokens: int
    source: str = ""
    hash_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.output_tokens < 1:
            raise ValueError(f"output_tokens must be at least 1, got {self.output_tokens}")
