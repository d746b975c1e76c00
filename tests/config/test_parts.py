"""What a configuration can name, and what becomes of it."""

from typing import Any, get_args

import pytest

from slosched import Request, Slo, TracedRequest
from slosched.config.load import load
from slosched.config.parts import (
    POLICIES,
    SOLVERS,
    AnyPolicy,
    AnyPredictor,
    AnySolver,
    MooreHodgsonPolicy,
    PlannedPolicy,
    SloSaPolicy,
)
from slosched.config.schema import Settings
from slosched.core.errors import ConfigError
from slosched.policies.density import Density
from slosched.policies.guard import BoundedPasses, Guard, IdleSteps, NoGuard
from slosched.policies.ltr import Ltr
from slosched.policies.ssjf import Ssjf
from slosched.predictors.noisy_classes import NoisyClasses
from slosched_solvers.cpsat import CpSat
from slosched_solvers.slo_sa import SloSa


def settings(*overrides: str) -> Settings:
    return load(None, list(overrides))


def kinds(union: Any) -> set[str]:
    members = get_args(get_args(union)[0])
    return {member.__dataclass_fields__["kind"].default for member in members}


def test_every_member_of_a_union_can_be_named() -> None:
    assert kinds(AnyPolicy) == {*POLICIES, "custom"}
    assert kinds(AnySolver) == {*SOLVERS, "custom"}
    assert all(POLICIES[kind]().kind == kind for kind in POLICIES)  # type: ignore[attr-defined]
    assert all(SOLVERS[kind]().kind == kind for kind in SOLVERS)
    assert kinds(Guard) == {"none", "bounded_passes", "idle_steps"}
    assert {"oracle", "noisy_classes", "history", "declared"} <= kinds(AnyPredictor)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("policy={kind: ltr}", Ltr(preemption=False, guard=IdleSteps(idle=200, quantum=10))),
        (
            "policy={kind: ltr, preemption: true, guard: {kind: idle_steps, idle: 9, quantum: 2}}",
            Ltr(preemption=True, guard=IdleSteps(idle=9, quantum=2)),
        ),
        ("policy={kind: ssjf}", Ssjf(guard=NoGuard())),
        ("policy={kind: density, guard: {passes: 7}}", Density(guard=BoundedPasses(passes=7))),
        ("policy={kind: moore_hodgson}", MooreHodgsonPolicy()),
        ("policy={kind: slo_sa, move_budget: 9, seed: 4}", SloSaPolicy(move_budget=9, seed=4)),
        (
            "policy={kind: planned, solver: {kind: slo_sa, cooling: 0.5}}",
            PlannedPolicy(solver=SloSa(cooling=0.5)),
        ),
        (
            "policy={kind: planned, solver: {kind: cpsat, refine: true}}",
            PlannedPolicy(solver=CpSat(refine=True)),
        ),
    ],
)
def test_yaml_becomes_the_part_that_it_names(override: str, expected: object) -> None:
    assert settings(override).policy == expected


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("policy={kind: lrt}", "unknown 'lrt', did you mean ltr?"),
        ("policy={kind: ltr, guard: {kind: idle_steps, idle: 0}}", "idle: must be at least 1 step"),
        ("policy={kind: slo_sa, cooling: 1}", "cooling: must be above 0 and below 1"),
        ("policy.solver.seed=-1", "seed: must be from 0 to 9223372036854775807"),
        ("policy.solver={kind: cpsat, seed: 9999999999}", "seed: must be from 0 to 2147483647"),
        ("predictor={kind: noisy_classes, seed: -7}", "seed: must be from 0"),
        ("predictor={kind: noisy_classes, exact: 0.99}", "exact: must be from 0 to within_one"),
    ],
)
def test_what_a_part_refuses_is_an_error_at_its_field(override: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match="--set") as caught:
        settings(override)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("predictor.kind=oracle", "oracle knows lengths from a trace: offline only"),
        ("predictor.kind=noisy_classes", "noisy_classes knows lengths from a trace: offline only"),
        ("policy.solver.kind=cpsat", "cpsat is for plans offline only"),
        ("policy.solver.kind=exhaustive", "exhaustive is for plans offline only"),
    ],
)
def test_what_knows_or_takes_too_much_is_refused_online(override: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        settings(override).planner()


def test_a_predictor_of_traces_is_told_their_lengths_and_keeps_its_parameters() -> None:
    given = settings("predictor={kind: noisy_classes, exact: 1, within_one: 1, seed: 3}")
    trace = [TracedRequest(Request("a", 0.0, 5, Slo()), 7)]
    predictor = given.planner(trace)._experience._predictor
    assert predictor == NoisyClasses(exact=1, within_one=1, seed=3, lengths={"a": 7})
    assert given.predictor == NoisyClasses(exact=1, within_one=1, seed=3)


@pytest.mark.parametrize(
    "override",
    [
        "policy={kind: slo_sa, move_budget: 9, time_budget_ms: 1}",
        "policy.solver={kind: slo_sa, move_budget: 9, time_budget_ms: 1}",
    ],
)
def test_offline_moves_bound_the_published_annealer(override: str) -> None:
    """Law 4: no clock has a say in results."""
    offline = settings(override).offline(seed=5).policy
    bounded = getattr(offline, "solver", offline)
    assert isinstance(bounded, SloSa)
    assert (bounded.move_budget, bounded.time_budget_ms, bounded.seed) == (9, None, 5)
    alone = settings(override).solver("slo_sa", seed=6)
    assert isinstance(alone, SloSa)
    assert (alone.move_budget, alone.time_budget_ms, alone.seed) == (9, None, 6)
