"""All concrete policies, solvers, guards and predictors, as unions that YAML chooses from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Annotated, Any, Literal

from slosched.core.errors import ConfigError
from slosched.core.protocols import Problem, Solution
from slosched.policies.aged_sjf import AgedSjf
from slosched.policies.density import Density
from slosched.policies.edf import Edf
from slosched.policies.fcfs import Fcfs
from slosched.policies.guard import BoundedPasses, Guard, Guarded
from slosched.policies.isrtf import Isrtf
from slosched.policies.least_slack import LeastSlack
from slosched.policies.ltr import Ltr
from slosched.policies.planned import Planned
from slosched.policies.priority import Priority
from slosched.policies.sjf import Sjf
from slosched.policies.ssjf import Ssjf
from slosched.policies.unions import by_kind
from slosched.predictors.declared import Declared
from slosched.predictors.history import History
from slosched.predictors.learned import ByEncoder, ByRanker
from slosched.predictors.noisy_classes import NoisyClasses
from slosched.predictors.oracle import Oracle
from slosched_solvers.anneal import Anneal
from slosched_solvers.cpsat import CpSat
from slosched_solvers.exhaustive import Exhaustive
from slosched_solvers.moore_hodgson import MooreHodgson
from slosched_solvers.slo_sa import SloSa


@dataclass(frozen=True)
class Custom:
    """A part of the user's own: `target` names its class, `options` are its arguments."""

    target: str
    kind: Literal["custom"] = "custom"
    options: dict[str, Any] = field(default_factory=dict)

    def build(self) -> object:
        """Import and construct it; ConfigError if that fails."""
        module, _, name = self.target.partition(":")
        try:
            return getattr(import_module(module), name)(**self.options)
        except Exception as error:
            raise ConfigError(
                f"custom target {self.target!r}, as package.module:Class: {error}"
            ) from error


@dataclass(frozen=True)
class CustomPolicy(Guarded, Custom):
    """A policy of the user's own."""


@dataclass(frozen=True)
class CustomSolver(Custom):
    """A solver of the user's own."""

    def solve(self, problem: Problem) -> Solution:
        """Refuse: the target solves, once it is built."""
        raise NotImplementedError(self.target)


@dataclass(frozen=True)
class CustomPredictor(Custom):
    """A predictor of the user's own."""


AnySolver = Annotated[Anneal | CpSat | Exhaustive | SloSa | CustomSolver, *by_kind("anneal")]
SOLVERS: Mapping[str, type[Anneal | CpSat | Exhaustive | SloSa]] = {
    "anneal": Anneal,
    "cpsat": CpSat,
    "exhaustive": Exhaustive,
    "slo_sa": SloSa,
}


@dataclass(frozen=True, slots=True)
class PlannedPolicy(Planned):
    """Our policy with the solvers and the guard that it may have."""

    solver: AnySolver = field(default_factory=Anneal)
    guard: Guard = field(default_factory=BoundedPasses, kw_only=True)


@dataclass(frozen=True, slots=True)
class MooreHodgsonPolicy(Guarded, MooreHodgson):
    """A constructive start with the guard that policies have."""


@dataclass(frozen=True, slots=True)
class SloSaPolicy(Guarded, SloSa):
    """The published annealer with the guard that policies have."""


AnyPolicy = Annotated[
    Fcfs
    | Priority
    | Edf
    | LeastSlack
    | Sjf
    | AgedSjf
    | Isrtf
    | Ltr
    | Ssjf
    | Density
    | MooreHodgsonPolicy
    | SloSaPolicy
    | PlannedPolicy
    | CustomPolicy,
    *by_kind("planned"),
]
POLICIES: Mapping[str, type[Guarded]] = {
    "fcfs": Fcfs,
    "priority": Priority,
    "edf": Edf,
    "least_slack": LeastSlack,
    "sjf": Sjf,
    "aged_sjf": AgedSjf,
    "isrtf": Isrtf,
    "ltr": Ltr,
    "ssjf": Ssjf,
    "density": Density,
    "moore_hodgson": MooreHodgsonPolicy,
    "slo_sa": SloSaPolicy,
    "planned": PlannedPolicy,
}


AnyPredictor = Annotated[
    Oracle | NoisyClasses | History | Declared | ByEncoder | ByRanker | CustomPredictor,
    *by_kind("history"),
]
