"""The per-request arrays of a result, checked."""

from collections.abc import Callable
from math import inf
from statistics import mode
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, PlainValidator, model_validator

from slosched.core.types import BoolArray, FloatArray
from slosched.report.requests import Requests


def _list(kinds: tuple[type, ...], what: str) -> Callable[[object], list[Any]]:
    def check(value: object) -> list[Any]:
        if not isinstance(value, list):
            raise ValueError(f"must be a list of {what}")  # noqa: TRY004  (pydantic's to report)
        wrong = set(map(type, value)) - set(kinds)
        if wrong:
            found = next(item for item in value if type(item) in wrong)
            raise ValueError(f"must hold {what} only, got {found!r:.40}")
        return value

    return check


_numbers = _list((float, int, type(None)), "numbers and null")


def _seconds(value: object) -> FloatArray:
    """Turn milliseconds into seconds, null into NaN."""
    ms = np.array(_numbers(value), dtype=np.float64)
    if (ms < 0).any() or np.isinf(ms).any():
        raise ValueError(f"must hold times from 0 on, got {ms[(ms < 0) | np.isinf(ms)][0]:g}")
    return ms / 1e3


def _instants(value: object) -> FloatArray:
    ms = np.array(_numbers(value), dtype=np.float64)
    if not np.isfinite(ms).all():
        raise ValueError("must hold a number for every request")
    return ms / 1e3


Texts = Annotated[list[str], PlainValidator(_list((str,), "texts"))]
Seconds = Annotated[FloatArray, PlainValidator(_seconds)]
Instants = Annotated[FloatArray, PlainValidator(_instants)]
Counts = Annotated[
    FloatArray, PlainValidator(lambda value: np.array(_numbers(value), dtype=np.float64))
]
Flags = Annotated[
    BoolArray, PlainValidator(lambda value: np.array(_list((bool,), "true and false")(value)))
]


class Arrays(BaseModel):
    """Arrays of one run, under the names of the JSON."""

    model_config = ConfigDict(frozen=True)

    request_ids: Texts
    slo_classes: Texts
    slo_met: Flags
    ttfts_ms: Seconds
    tpots_ms: Seconds
    e2els_ms: Seconds
    arrivals_ms: Instants | None = None
    starts_ms: Seconds | None = None
    input_lens: Counts | None = None
    output_lens: Counts | None = None
    ttft_limits_ms: Seconds | None = None
    tpot_limits_ms: Seconds | None = None
    e2e_limits_ms: Seconds | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        sizes = {name: len(array) for name, array in self if array is not None}
        n = mode(sizes.values())  # so that the one at fault is named, whichever it is
        usual = next(name for name, size in sizes.items() if size == n)
        for name, size in sizes.items():
            if size != n:
                raise ValueError(f"{name}: holds {size} values, {usual} {n}")
        if len(set(self.request_ids)) < n:
            seen: set[str] = set()
            twice = next(i for i in self.request_ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
            raise ValueError(f"request_ids: {twice!r:.60} comes twice")
        return self

    def requests(self, of_class: Callable[[str, str], float]) -> Requests:
        """Return the requests.

        Parameters
        ----------
        of_class
            Class and metric -> limit, s, for limits that the arrays do not hold.
        """
        unknown = np.full(len(self.request_ids), np.nan)
        arrival, start = self.arrivals_ms, self.starts_ms
        begin = 0.0 if arrival is None else arrival.min(initial=inf)
        limits = {
            f"{metric}_limit": self._limits(metric, of_class) for metric in ("ttft", "tpot", "e2e")
        }
        return Requests(
            ids=self.request_ids,
            classes=self.slo_classes,
            met=self.slo_met.astype(np.bool_),
            ttft=self.ttfts_ms,
            tpot=self.tpots_ms,
            e2e=self.e2els_ms,
            arrival=None if arrival is None else arrival - begin,
            start=unknown if start is None else start - begin,
            input_tokens=unknown if self.input_lens is None else self.input_lens,
            output_tokens=unknown if self.output_lens is None else self.output_lens,
            **limits,
        )

    def _limits(self, metric: str, of_class: Callable[[str, str], float]) -> FloatArray:
        own: FloatArray | None = getattr(self, f"{metric}_limits_ms")
        if own is not None:
            return np.where(np.isnan(own), inf, own)
        known = {name: of_class(name, metric) for name in set(self.slo_classes)}
        return np.array([known[name] for name in self.slo_classes], dtype=np.float64)
