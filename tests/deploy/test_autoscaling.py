"""Autoscaling and monitoring ask for metrics that there are, under the names that they have."""

from typing import Any

import promql_parser
import pytest
import yaml

from tests.deploy.manifests import (
    EVERYTHING,
    FOLDER,
    ROOT,
    containers,
    of_kind,
    ports,
    rendered,
    selected,
)
from tests.server.exported import of_the_front_end

OBJECTS = rendered(EVERYTHING)
RULES: list[dict[str, Any]] = yaml.safe_load(
    (FOLDER / "components" / "autoscaling" / "adapter-rules.yaml").read_text(encoding="utf-8")
)["externalRules"]
SCRAPED = {"job", "namespace"}
ALERTS = (ROOT / "docs" / "grafana" / "alerts.yaml").read_text(encoding="utf-8")


def test_the_autoscaler_scales_engines() -> None:
    (scaler,) = of_kind(OBJECTS, "HorizontalPodAutoscaler").values()
    deployments = of_kind(OBJECTS, "Deployment")
    assert scaler["spec"]["scaleTargetRef"]["name"] in deployments
    assert "replicas" not in deployments["vllm"]["spec"]  # nobody else says how many
    assert deployments["slosched-picker"]["spec"]["replicas"] == 2


def test_the_autoscalers_metrics_are_those_of_the_adapter() -> None:
    (scaler,) = of_kind(OBJECTS, "HorizontalPodAutoscaler").values()
    wanted = {metric["external"]["metric"]["name"] for metric in scaler["spec"]["metrics"]}
    assert wanted == {rule["name"]["as"] for rule in RULES}


def test_engines_are_added_before_their_seats_are_taken() -> None:
    (scaler,) = of_kind(OBJECTS, "HorizontalPodAutoscaler").values()
    target = next(
        metric["external"]["target"]["averageValue"]
        for metric in scaler["spec"]["metrics"]
        if metric["external"]["metric"]["name"] == "slosched_requests_present"
    )
    (seats,) = (
        int(word.partition("=")[2])
        for word in containers(OBJECTS)["vllm"]["args"]
        if word.startswith("--max-num-seqs=")
    )
    assert int(target) == seats * 3 // 4


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["name"]["as"])
def test_the_adapter_asks_for_what_the_picker_exports(rule: dict[str, Any]) -> None:
    exported = of_the_front_end()
    series: dict[str, frozenset[str]] = {}
    for name, one in exported.items():
        for sample in one.series(name):
            series[sample] = one.labels or frozenset()
    selectors = _selectors(rule["seriesQuery"]) + _selectors(
        rule["metricsQuery"].replace("<<.LabelMatchers>>", 'namespace="slosched"')
    )
    assert len(selectors) >= 3
    for selector in selectors:
        name = selector.name or next(
            one.value for one in selector.matchers.matchers if one.name == "__name__"
        )
        labels = {one.name for one in selector.matchers.matchers} - {"__name__"}
        assert labels <= series[name] | SCRAPED


def _selectors(query: str) -> list[promql_parser.VectorSelector]:
    found: list[promql_parser.VectorSelector] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        elif isinstance(node, promql_parser.MatrixSelector):
            found.append(node.vector_selector)

    promql_parser.walk(promql_parser.parse(query), visit)
    return found


def test_monitors_find_services_and_their_ports() -> None:
    services = of_kind(OBJECTS, "Service").values()
    for monitor in of_kind(OBJECTS, "ServiceMonitor").values():
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        (service,) = (one for one in services if wanted <= one["metadata"]["labels"].items())
        (endpoint,) = monitor["spec"]["endpoints"]
        assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
        job = service["metadata"]["labels"][monitor["spec"]["jobLabel"]]
        assert f'job="{job}"' in ALERTS  # alerts and pictures go by it


def test_googles_monitors_find_pods_and_their_ports() -> None:
    objects = rendered("gke")
    for monitor in of_kind(objects, "PodMonitoring").values():
        (behind,) = selected(objects, monitor["spec"]["selector"]["matchLabels"])
        (endpoint,) = monitor["spec"]["endpoints"]
        assert endpoint["port"] in ports(containers(objects)[behind])
        assert f'job="{monitor["metadata"]["name"]}"' in ALERTS  # what Google calls the job
