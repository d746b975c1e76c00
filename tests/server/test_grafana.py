"""The dashboard and the alerts that come along ask for metrics that there are."""

import importlib.util
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import promql_parser
import pytest
import yaml

from tests.server.exported import Exported, of_engines, of_the_front_end, of_the_scheduler

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "grafana"
DASHBOARD: dict[str, Any] = orjson.loads((FOLDER / "slosched.json").read_bytes())
ALERTS: dict[str, Any] = yaml.safe_load((FOLDER / "alerts.yaml").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
SCRAPED = {"job", "instance", "le"}


@pytest.fixture(scope="module")
def series() -> dict[str, frozenset[str]]:
    """Labels of all that is exported, by the names of its samples."""
    found: dict[str, frozenset[str]] = {}
    for names in (of_the_front_end(), of_the_scheduler(), of_engines()):
        for name, exported in names.items():
            for sample in exported.series(name):
                found[sample] = found.get(sample, frozenset()) | (exported.labels or frozenset())
    return found


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_panels_ask_for_what_there_is(
    panel: dict[str, Any], series: dict[str, frozenset[str]]
) -> None:
    assert panel["targets"]
    for target in panel["targets"]:
        _check(_plain(target["expr"]), series)
        legend = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert legend <= _labels_in(target["expr"], series)
    assert panel["fieldConfig"]["defaults"]["unit"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_alerts_ask_for_what_there_is(
    rule: dict[str, Any], series: dict[str, frozenset[str]]
) -> None:
    _check(rule["expr"], series)
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"].keys() == {"summary", "what"}
    shown = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    assert shown <= _labels_in(rule["expr"], series)


def test_variables_ask_for_what_there_is(series: dict[str, frozenset[str]]) -> None:
    variables = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
    assert variables.pop("datasource")["query"] == "prometheus"
    for one in variables.values():
        found = re.fullmatch(r"label_values\((.*), (\w+)\)", one["definition"])
        assert found
        _check(found[1], series)
    used = set(re.findall(r"\$(?!__)\{?(\w+)", (FOLDER / "slosched.json").read_text()))
    assert used == {"datasource", *variables}


def test_the_dashboard_is_what_its_script_writes() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "grafana_dashboard.py"))
    assert (FOLDER / "slosched.json").read_text(encoding="utf-8") == script["text"]()


def test_grafana_can_lay_it_out() -> None:
    """Ids are unique, and no panel lies on another or beyond the edge."""
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(at["x"] + dx, at["y"] + dy) for dx in range(at["w"]) for dy in range(at["h"])}
        assert not cells & taken
        taken |= cells
    assert (DASHBOARD["uid"], DASHBOARD["schemaVersion"]) == ("slosched", 39)


def _check(query: str, series: dict[str, frozenset[str]]) -> None:
    """Hold all that a query names to what there is: metrics, and the labels that it selects by."""
    selectors = list(_selectors(promql_parser.parse(query)))
    assert selectors
    for selector in selectors:
        assert selector.name
        assert selector.name in series
        for matcher in selector.matchers.matchers:
            assert matcher.name in series[selector.name] | SCRAPED, (selector.name, matcher.name)


def _labels_in(query: str, series: dict[str, frozenset[str]]) -> set[str]:
    """Labels that its result may have."""
    grouped = re.findall(r"\bby \(([^)]*)\)", query)
    if grouped:
        return {label for by in grouped for label in re.findall(r"\w+", by)}
    named = (series[one.name] for one in _selectors(promql_parser.parse(_plain(query))) if one.name)
    return SCRAPED.union(*named)


def _plain(query: str) -> str:
    """Return a query without what Grafana fills in."""
    return query.replace("$__rate_interval", "5m")


def _selectors(expression: promql_parser.Expr) -> Iterator[promql_parser.VectorSelector]:
    found: list[promql_parser.VectorSelector] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        elif isinstance(node, promql_parser.MatrixSelector):
            found.append(node.vector_selector)

    promql_parser.walk(expression, visit)
    yield from found


def test_engines_names_are_vllms_own() -> None:
    spec = importlib.util.find_spec("vllm")
    if spec is None or spec.origin is None:
        pytest.skip("vLLM is not installed")
    source = (Path(spec.origin).parent / "v1" / "metrics" / "loggers.py").read_text("utf-8")
    used = {
        selector.name
        for panel in PANELS
        for target in panel["targets"]
        for selector in _selectors(promql_parser.parse(_plain(target["expr"])))
        if selector.name and selector.name.startswith("vllm:")
    }
    assert used
    for name in used:
        assert f'"{re.sub("_(total|bucket|sum|count)$", "", name)}"' in source


def test_the_parser_finds_names_wherever_they_are() -> None:
    query = promql_parser.parse("sum by (a) (rate(x_total[5m])) / on (a) (y{b='1'} > bool z)")
    assert {selector.name for selector in _selectors(query)} == {"x_total", "y", "z"}


def test_names_that_are_not_exported_are_found() -> None:
    with pytest.raises(AssertionError):
        _check("rate(slosched_nothing_total[5m])", {"y": frozenset()})
    assert Exported("counter", None).series("x_total") == {"x_total"}
