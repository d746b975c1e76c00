"""The page of an offline plan."""

from typing import Any

import orjson
import pytest

from slosched import Objective
from slosched.report.plan import plan_page
from slosched.sim.offline import OfflinePlan, plan_offline
from slosched_solvers.anneal import Anneal
from tests.report.made import LIMITS, drawn
from tests.report.pages import Tags, picture, texts
from tests.strategies import LATENCY


@pytest.fixture(scope="module")
def plan() -> OfflinePlan:
    solver = Anneal(time_budget_ms=None, move_budget=50)
    return plan_offline(drawn(1.0, 40), LIMITS, LATENCY, Objective(), solver)


def page_of(plan: OfflinePlan, **summary: Any) -> str:
    facts = [("Traces", "made.jsonl"), ("Seed", "0")]
    whole = plan.summary() | {"solver": "anneal"} | summary
    return plan_page(whole, plan.arrays(), facts, {"policy": {"kind": "planned"}}).decode()


def test_arrays_are_in_planned_order_and_agree_with_the_lines(plan: OfflinePlan) -> None:
    arrays: dict[str, Any] = orjson.loads(orjson.dumps(plan.arrays()))
    lines = list(plan.lines())
    for array, key in (
        ("request_ids", "request_id"), ("slo_classes", "slo_class"), ("starts_ms", "start_ms"),
        ("ttfts_ms", "first_token_ms"), ("e2els_ms", "finish_ms"), ("slo_met", "slo_met"),
    ):  # fmt: skip
        assert arrays[array] == [line[key] for line in lines]
    assert {len(array) for array in arrays.values()} == {len(lines)}
    for i, first in enumerate(arrays["ttfts_ms"]):
        if first is not None:
            after = arrays["tpots_ms"][i] * max(arrays["output_lens"][i] - 1, 1)
            assert first + after == pytest.approx(arrays["e2els_ms"][i])


def test_the_page_has_every_request_and_every_figure(plan: OfflinePlan) -> None:
    page = page_of(plan, attained_bound=30, gap=30 - plan.summary()["attained_weight"])
    tags = Tags(page)
    assert not tags.open
    svg = picture(page, "Schedule of 40 requests in planned order")
    marks = [text for text in texts(svg) if text.endswith(("✓", "✗"))]
    assert [mark.split()[1] for mark in marks] == [line["request_id"] for line in plan.lines()]
    assert sum(mark.endswith("✓") for mark in marks) == plan.summary()["attained"]
    assert "no schedule without preemption attains more than 30" in tags.text
    assert f"a gap of {30 - plan.summary()['attained_weight']:g}" in tags.text
    for word in ("chat", "code", "made.jsonl", "kind: planned"):
        assert word in tags.text


def test_without_a_proof_none_is_claimed(plan: OfflinePlan) -> None:
    text = Tags(page_of(plan)).text
    assert "No bound was proven" in text
    assert "it is proven" not in text.lower()


def test_the_same_plan_is_the_same_page_however_long_it_took(plan: OfflinePlan) -> None:
    assert page_of(plan, solve_s=1.0) == page_of(plan, solve_s=2.0)


def test_more_requests_than_fit_are_counted(
    plan: OfflinePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slosched.report.plan.MOST", 10)
    page = page_of(plan)
    assert "The first 10 of them; optimize -o writes them all." in Tags(page).text
