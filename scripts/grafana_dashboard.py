"""Write docs/grafana/slosched.json, the dashboard that users import into Grafana.

python scripts/grafana_dashboard.py
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[1] / "docs" / "grafana" / "slosched.json"

_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH, _HEIGHT = 24, 8
_FRONT, _ENGINE = 'job=~"$job"', 'job=~"$engine"'
_CLASS = f'{_FRONT}, slo_class=~"$slo_class"'
_RATE = "[$__rate_interval]"
_COUNTED = 'outcome=~"finished|shed|failed"'


@dataclass(frozen=True)
class Panel:
    """A picture: its title, its unit, and what is drawn by which legend."""

    title: str
    unit: str
    drawn: Sequence[tuple[str, str]]
    about: str = ""
    kind: str = "timeseries"
    width: int = 8

    def written(self, number: int, x: int, y: int) -> dict[str, Any]:
        """Return it as Grafana has it."""
        height = 4 if self.kind == "stat" else _HEIGHT
        targets = [
            {
                "refId": chr(ord("A") + i),
                "expr": expr,
                "legendFormat": legend,
                "datasource": _SOURCE,
            }
            for i, (expr, legend) in enumerate(self.drawn)
        ]
        if self.kind == "stat":
            targets = [{**target, "instant": True, "range": False} for target in targets]
        return {
            "id": number, "type": self.kind, "title": self.title, "description": self.about,
            "datasource": _SOURCE, "targets": targets,
            "gridPos": {"h": height, "w": self.width, "x": x, "y": y},
            "fieldConfig": {"defaults": {"unit": self.unit, "min": 0}, "overrides": []},
            "options": _OPTIONS[self.kind],
        }  # fmt: skip


_LEGEND = {"displayMode": "list", "placement": "bottom", "showLegend": True}
_OPTIONS: dict[str, dict[str, Any]] = {
    "timeseries": {"legend": _LEGEND, "tooltip": {"mode": "multi", "sort": "desc"}},
    "stat": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "none"},
    "state-timeline": {"legend": _LEGEND, "mergeValues": True, "showValue": "auto"},
}


def _rate(name: str, by: str, labels: str = _CLASS) -> str:
    return f"sum by ({by}) (rate({name}{{{labels}}}{_RATE}))"


def _quantiles(name: str, labels: str, by: str = "") -> list[tuple[str, str]]:
    """Return the median and the 99th percentile of a histogram."""
    group = f"le, {by}" if by else "le"
    bucket = _rate(f"{name}_bucket", group, labels)
    who = f"{{{{{by}}}}} " if by else ""
    return [(f"histogram_quantile({q}, {bucket})", f"{who}p{100 * q:g}") for q in (0.5, 0.99)]


def _attained(by: str) -> str:
    kept = _rate("slosched_requests_attained_total", by)
    return f"{kept} / {_rate('slosched_requests_total', by, f'{_CLASS}, {_COUNTED}')}"


_ROWS: dict[str, Sequence[Panel]] = {
    "At a glance": [
        Panel("SLO attainment", "percentunit", [(_attained(""), "")], kind="stat", width=6),
        Panel("Requests", "reqps", [(_rate("slosched_requests_total", ""), "")],
              kind="stat", width=6),
        Panel("Waiting", "short", [(f"sum(slosched_queue_depth{{{_CLASS}}})", "")],
              kind="stat", width=6),
        Panel("Replicas ready", "short",
              [(f'sum(slosched_replica_state{{{_FRONT}, state="ready"}})', "")],
              kind="stat", width=6),
    ],
    "Attainment": [
        Panel("SLO attainment by class", "percentunit", [(_attained("slo_class"), "{{slo_class}}")],
              "Requests that kept all their limits, of those that finished, were shed or failed.",
              width=12),
        Panel("Limits broken, by class and type", "reqps",
              [(_rate("slosched_request_slo_violation_total", "slo_class, type"),
                "{{slo_class}} {{type}}")], width=12),
    ],
    "Outcomes": [
        Panel("Requests by outcome", "reqps",
              [(_rate("slosched_requests_total", "outcome"), "{{outcome}}")]),
        Panel("Shed, failed and downgraded, by class", "reqps", [
            (_rate("slosched_requests_total", "slo_class, outcome",
                   f'{_CLASS}, outcome=~"shed|failed"'), "{{slo_class}} {{outcome}}"),
            (_rate("slosched_requests_downgraded_total", "slo_class, served_as"),
             "{{slo_class}} as {{served_as}}"),
        ]),
        Panel("Refused at the door, and sent elsewhere", "reqps", [
            (_rate("slosched_access_refused_total", "reason", _FRONT), "refused: {{reason}}"),
            (_rate("slosched_retries_total", "reason", _FRONT), "retried: {{reason}}"),
        ]),
    ],
    "Latency by class": [
        Panel(title, "s", _quantiles(f"slosched_request_{name}_seconds", _CLASS, "slo_class"),
              about, width=6)
        for name, title, about in (
            ("ttft", "Time to first token", "Of streamed answers, from arrival."),
            ("tpot", "Time per output token", "Of streamed answers, after the first."),
            ("e2e", "End to end", "From arrival to the end of the answer."),
            ("queue", "In the queue", "Waited in the front end for a replica."),
        )
    ],
    "Queue and replicas": [
        Panel("Waiting, by class", "short",
              [(f"sum by (slo_class) (slosched_queue_depth{{{_CLASS}}})", "{{slo_class}}")]),
        Panel("Waiting, by replica", "short",
              [(f"slosched_replica_waiting{{{_FRONT}}}", "{{replica}}")],
              "For whom the plan has them wait."),
        Panel("Running, by replica", "short",
              [(f"slosched_replica_running{{{_FRONT}}}", "{{replica}}")], "Requests of ours."),
        Panel("Ready", "bool_yes_no",
              [(f'slosched_replica_state{{{_FRONT}, state="ready"}}', "{{replica}}")],
              kind="state-timeline"),
        Panel("KV cache in use", "percentunit",
              [(f"slosched_replica_kv_used_ratio{{{_FRONT}}}", "{{replica}}")],
              "As engines say."),
        Panel("Slower than its profile", "short",
              [(f"slosched_replica_slowdown{{{_FRONT}}}", "{{replica}}")],
              "Time of a step over what the profile says; 1 until enough tokens were seen."),
    ],
    "Plans and predictions": [
        Panel("Time to make a plan", "s", _quantiles("slosched_solve_seconds", _FRONT, "solver")),
        Panel("Age of the plan", "s", [(f"max by (job) (slosched_plan_age_seconds{{{_FRONT}}})",
                                        "{{job}}")]),
        Panel("Plans that failed", "cps",
              [(_rate("slosched_plan_failures_total", "job", _FRONT), "{{job}}")]),
        Panel("Length predicted wrong by", "short",
              _quantiles("slosched_prediction_error_tokens", _FRONT), "Tokens, at first guess.",
              width=12),
        Panel("Margin on step times", "short",
              [(f"slosched_latency_margin{{{_FRONT}}}", "{{job}}")],
              "By what plans take steps to be longer than they are known to be.", width=12),
    ],
    "Engines": [
        Panel("Running and waiting in engines", "short", [
            (f"sum by (instance) (vllm:num_requests_running{{{_ENGINE}}})", "{{instance}} running"),
            (f"sum by (instance) (vllm:num_requests_waiting{{{_ENGINE}}})", "{{instance}} waiting"),
        ]),
        Panel("KV cache in use", "percentunit",
              [(f"max by (instance) (vllm:kv_cache_usage_perc{{{_ENGINE}}})", "{{instance}}")]),
        Panel("Tokens a second", "short", [
            (_rate("vllm:prompt_tokens_total", "instance", _ENGINE), "{{instance}} prompts"),
            (_rate("vllm:generation_tokens_total", "instance", _ENGINE), "{{instance}} answers"),
        ]),
        Panel("Preemptions", "cps",
              [(_rate("vllm:num_preemptions_total", "instance", _ENGINE), "{{instance}}")]),
        Panel("Between two tokens, in engines", "s",
              _quantiles("vllm:inter_token_latency_seconds", _ENGINE, "instance")),
        Panel("Added to a step by slosched", "s",
              _quantiles("slosched_step_overhead_seconds", _ENGINE, "instance"),
              "Where slosched schedules inside of the engine."),
    ],
    "Front end": [
        Panel("CPU cores in use", "short",
              [(_rate("process_cpu_seconds_total", "instance", _FRONT), "{{instance}}")],
              "It works in one thread: 1 is its limit."),
        Panel("Memory", "bytes",
              [(f"process_resident_memory_bytes{{{_FRONT}}}", "{{instance}}")]),
        Panel("Reloads of the configuration", "short",
              [(f"increase(slosched_config_reloads_total{{{_FRONT}}}{_RATE})", "{{outcome}}")]),
    ],
}  # fmt: skip


def dashboard() -> dict[str, Any]:
    """Return all of it."""
    return {
        "uid": "slosched", "title": "slosched", "schemaVersion": 39, "version": 1, "id": None,
        "editable": True, "graphTooltip": 1, "refresh": "15s", "tags": ["slosched", "vllm"],
        "time": {"from": "now-1h", "to": "now"}, "timezone": "browser",
        "annotations": {"list": []}, "links": [],
        "templating": {"list": list(_variables())}, "panels": list(_panels()),
    }  # fmt: skip


def _variables() -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "label": "Data source", "type": "datasource",
           "query": "prometheus", "current": {}, "options": [], "refresh": 1}  # fmt: skip
    for name, label, query in (
        ("job", "Front end", "label_values(slosched_requests_total, job)"),
        ("engine", "Engines", "label_values(vllm:num_requests_running, job)"),
        ("slo_class", "Class", 'label_values(slosched_requests_total{job=~"$job"}, slo_class)'),
    ):
        yield {
            "name": name, "label": label, "type": "query", "datasource": _SOURCE,
            "query": {"query": query, "refId": name}, "definition": query, "refresh": 2,
            "multi": True, "includeAll": True, "allValue": ".*", "sort": 1,
            "current": {"text": ["All"], "value": ["$__all"]}, "options": [],
        }  # fmt: skip


def _panels() -> Iterator[dict[str, Any]]:
    number, y = 1, 0
    for title, panels in _ROWS.items():
        yield {
            "id": number, "type": "row", "title": title, "collapsed": False, "panels": [],
            "gridPos": {"h": 1, "w": _WIDTH, "x": 0, "y": y},
        }  # fmt: skip
        number, y, x = number + 1, y + 1, 0
        for panel in panels:
            made = panel.written(number, x, y)
            yield made
            number, x = number + 1, x + panel.width
            if x >= _WIDTH or panel is panels[-1]:
                x, y = 0, y + made["gridPos"]["h"]


def text() -> str:
    """Return the file."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(text(), encoding="utf-8")
