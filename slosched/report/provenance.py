"""Where results come from: files, versions, traces, and configuration."""

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from slosched.report.runs import Runs
from slosched.report.words import printable

Fact = tuple[str, list[str]]


def provenance(runs: Runs) -> list[Fact]:
    """List what the runs say of their origin; what none of them says is left out."""
    results = [run.result for run in runs.runs]
    facts = [
        ("Results", _distinct(run.file for run in runs.runs)),
        ("Traces", _distinct(trace for result in results for trace in result.traces)),
        ("Requests", _distinct(result.requests for result in results)),
        ("Profile", _distinct(result.profile for result in results)),
        ("Model", _distinct(result.model_id for result in results)),
        ("Server", _distinct(result.backend_version for result in results)),
        ("Hardware", _distinct(result.hardware for result in results)),
        ("Lengths", _distinct(_kind(result.config.get("predictor")) for result in results)),
        ("Seed", _distinct(result.seed for result in results)),
        ("Simulated or measured by slosched", _distinct(result.version for result in results)),
    ]
    return [(name, values) for name, values in facts if values]


def configurations(runs: Runs) -> list[tuple[list[str], str]]:
    """Return each effective configuration once, as YAML, and the titles of the runs it is of."""
    titles: dict[str, list[str]] = {}
    for run in runs.runs:
        if run.result.config:
            titles.setdefault(as_yaml(run.result.config), []).append(run.title)
    return [(of, text) for text, of in titles.items()]


def as_yaml(config: Mapping[str, Any]) -> str:
    """Return a configuration as people write it."""
    text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
    return "\n".join(map(printable, text.splitlines()))


def _distinct(values: Iterable[object]) -> list[str]:
    return list(dict.fromkeys(str(value) for value in values if value is not None))


def _kind(part: Any) -> str | None:  # noqa: ANN401 - whatever the configuration holds
    kind = part.get("kind") if isinstance(part, dict) else None
    return None if kind is None else str(kind)
