"""The section `planner`: what it builds online, and in virtual time."""

from dataclasses import dataclass

import pytest

from slosched import Plan, Snapshot
from slosched.config.load import load
from slosched.config.planning import ALLOWANCE_MS, MOVES_PER_MS, solve_time_ms
from slosched.core.errors import ConfigError
from slosched.core.protocols import Problem, Solution
from slosched.planner import Beside, Charged, Fixed, Inline, Learned
from slosched.planner.workers import Worker
from slosched.policies.fcfs import Fcfs

CUSTOM = f"target={__name__}:Slow"


@dataclass(frozen=True)
class Slow:
    """A policy or solver of a user's own, of which nobody knows how long it takes."""

    def plan(self, snapshot: Snapshot) -> Plan:
        return Fcfs().plan(snapshot)

    def solve(self, problem: Problem) -> Solution:
        raise NotImplementedError


def worker(*overrides: str, offline: bool) -> Worker:
    settings = load(None, overrides)
    planner = settings.offline().planner([]) if offline else settings.planner()
    return planner._worker


def charge_ms(*overrides: str) -> float:
    charged = worker(*overrides, offline=True)
    assert isinstance(charged, Charged)
    return charged.seconds * 1e3


@pytest.mark.parametrize("kind", ["fcfs", "edf", "sjf", "isrtf", "moore_hodgson"])
@pytest.mark.parametrize("offline", [True, False])
def test_keys_are_sorted_in_the_step(kind: str, offline: bool) -> None:
    assert isinstance(worker(f"policy.kind={kind}", offline=offline), Inline)


@pytest.mark.parametrize(
    "overrides",
    [
        ["policy.kind=planned"],
        ["policy.kind=slo_sa"],
        ["policy.kind=custom", f"policy.{CUSTOM}"],
        ["policy.kind=planned", "policy.solver.kind=custom", f"policy.solver.{CUSTOM}"],
    ],
    ids=" ".join,
)
def test_what_searches_or_may_is_beside_the_engine(overrides: list[str]) -> None:
    assert isinstance(worker(*overrides, offline=False), Beside)
    assert isinstance(worker(*overrides, offline=True), Charged)


def test_a_solve_is_charged_its_budget_and_what_comes_on_top() -> None:
    assert charge_ms("policy.solver.time_budget_ms=8") == pytest.approx(8 + ALLOWANCE_MS)
    moves = ["policy.solver.time_budget_ms=null", "policy.solver.move_budget=600"]
    assert charge_ms(*moves) == pytest.approx(600 / MOVES_PER_MS + ALLOWANCE_MS)
    limit = ["policy.solver.kind=cpsat", "policy.solver.time_limit_s=2"]
    assert charge_ms(*limit) == pytest.approx(2000 + ALLOWANCE_MS)
    assert charge_ms("policy.kind=custom", f"policy.{CUSTOM}") == pytest.approx(ALLOWANCE_MS)
    assert solve_time_ms(Fcfs()) == ALLOWANCE_MS


def test_a_solve_is_charged_what_is_said() -> None:
    assert charge_ms("planner.solve_ms=40") == pytest.approx(40)
    assert isinstance(worker("planner.solve_ms=0", offline=True), Inline)  # free, so at once


def test_all_of_it_arrives_at_the_planner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLOSCHED_PLANNER__PATIENCE_MS", "250")
    margin = "planner.margin={kind: fixed, factor: 1.2}"
    planner = load(None, ["planner.max_plan_age_ms=500", "planner.repredict_tokens=7", margin])
    built = planner.planner()
    assert (built._max_plan_age, built._patience, built._experience._every) == (0.5, 0.25, 7)
    assert built.margin.factor == 1.2
    assert isinstance(load().planning.margin, Learned)
    assert planner.planning.margin == Fixed(factor=1.2)


@pytest.mark.parametrize(
    ("override", "where"),
    [
        ("planner.patience_ms=0", "planner.patience_ms"),
        ("planner.solve_ms=-1", "planner.solve_ms"),
        (
            "planner.margin.quantile=1.5",
            "planner.margin.quantile: must be between 0 and 1, got 1.5",
        ),
        ("planner.pacience_ms=3", "did you mean patience_ms"),
    ],
)
def test_what_is_out_of_bounds_is_named(override: str, where: str) -> None:
    with pytest.raises(ConfigError, match=where):
        load(None, [override])
