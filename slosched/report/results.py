"""What a result says of a run as a whole."""

from math import inf
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Number = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


class Times(BaseModel):
    """Latencies in ms; None over nobody, or where the result does not say."""

    model_config = ConfigDict(strict=True, frozen=True)

    mean_ttft_ms: Number | None = None
    p99_ttft_ms: Number | None = None
    mean_tpot_ms: Number | None = None
    p99_tpot_ms: Number | None = None
    mean_e2el_ms: Number | None = None
    p99_e2el_ms: Number | None = None


class OfClass(Times):
    """The requests of one class."""

    slo_attainment: Share | None
    requests: Count | None = None


class Result(Times):
    """One run, under the names of the JSON; names that it may have besides are left alone."""

    policy: str = ""
    load: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    completed: Count
    failed: Count = 0
    shed: Count = 0
    slo_attainment: Share | None
    weighted_attainment: Share | None = None
    per_class: dict[str, OfClass]
    request_goodput: Number | None = None
    preemptions: Count | None = None
    trace: list[str] | str | None = None
    seed: int | None = None
    profile: str | None = None
    model_id: str | None = None
    backend_version: str | None = None
    hardware: str | None = None
    version: str | None = None
    config: dict[str, Any] = Field(default_factory=dict)

    @property
    def requests(self) -> int:
        """How many requests came to an end, good or bad."""
        return self.completed + self.failed + self.shed

    def limit(self, slo_class: str, metric: str) -> float:
        """Return what the configuration has a class ask for, s; infinite if it says nothing."""
        classes = self.config.get("classes")
        settings = classes.get(slo_class) if isinstance(classes, dict) else None
        ms = settings.get(f"{metric}_ms") if isinstance(settings, dict) else None
        return ms / 1e3 if isinstance(ms, int | float) and ms > 0 else inf

    @property
    def traces(self) -> list[str]:
        """The files that the requests came from."""
        if self.trace is None:
            return []
        return [self.trace] if isinstance(self.trace, str) else self.trace
