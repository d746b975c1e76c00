"""The section `fleet`: the replicas behind the front end, and who of them gets a request."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from math import inf
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from slosched.config.engine import EngineSettings
from slosched.config.profile import load_profile
from slosched.core.slo import SloClass
from slosched.core.snapshot import EngineLimits
from slosched.core.url import check_root
from slosched.dispatch import Fairness, Replica
from slosched.dispatch.assignments.fewest_outstanding import FewestOutstanding
from slosched.dispatch.assignments.largest_memory import LargestMemory
from slosched.dispatch.assignments.planned import PlannedFleet
from slosched.dispatch.assignments.power_of_two import PowerOfTwo
from slosched.dispatch.assignments.prefix_affinity import PrefixAffinity
from slosched.dispatch.assignments.round_robin import RoundRobin
from slosched.policies.unions import by_kind
from slosched_server.overload import Overload
from slosched_solvers.fleet import FleetAnneal

# Measured on one core with 5 to 200 replicas (benchmarks/scale.py).
FLEET_MOVES_PER_MS = 30
FLEET_ALLOWANCE_MS = 5.0

_STRICT = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class PlannedAssignment(PlannedFleet):
    """Our assignment with the solver that it has."""

    solver: FleetAnneal = field(default_factory=FleetAnneal)


AnyAssignment = Annotated[
    PlannedAssignment
    | FewestOutstanding
    | LargestMemory
    | PowerOfTwo
    | PrefixAffinity
    | RoundRobin,
    *by_kind("planned"),
]


class ReplicaSettings(BaseModel):
    """One engine. What is not said is as in the section `engine`."""

    model_config = _STRICT

    url: Annotated[str, AfterValidator(check_root)]
    name: str = ""
    profile: str | None = None
    max_num_seqs: int | None = Field(default=None, ge=1)
    max_num_batched_tokens: int | None = Field(default=None, ge=1)
    block_size: int | None = Field(default=None, ge=1)
    num_kv_blocks: int | None = Field(default=None, ge=1)

    @property
    def called(self) -> str:
        """Its name; by default its host and port."""
        return self.name or urlsplit(self.url).netloc

    def build(self, engine: EngineSettings, ahead: int) -> Replica:
        """Return the replica; ConfigError if there is no such profile."""
        profile = load_profile(self.profile or engine.profile)
        measured = profile.limits() if self.profile else {}
        names = ("max_num_seqs", "max_num_batched_tokens", "block_size", "num_kv_blocks")
        own = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        usual = {name: getattr(engine, name) for name in names}
        limits = EngineLimits(**{**usual, **measured, **own})
        # What nobody says, the engine does.
        reads_kv = self.num_kv_blocks is None and "num_kv_blocks" not in measured
        return Replica(self.called, limits, profile.latency(), ahead, reads_kv)


class FleetSettings(BaseModel):
    """Replicas, and how they share requests.

    `ahead` is how many requests a replica may be given beyond its slots, so that none of these is
    empty while the next one is on its way. `ca_certs` is a PEM file: the authorities by which
    replicas are trusted that speak HTTPS, in place of the system's.
    """

    model_config = _STRICT

    replicas: list[ReplicaSettings] = Field(default_factory=list)
    ca_certs: str | None = None
    assignment: AnyAssignment = Field(default_factory=PlannedAssignment)
    ahead: int = Field(default=0, ge=0)
    probe_every_s: float = Field(default=2.0, gt=0, le=3600)
    plan_every_ms: float = Field(default=50.0, ge=0, le=10_000)
    max_waiting: int = Field(default=4096, ge=1)
    max_waiting_tokens: int | None = Field(default=None, ge=1)
    max_wait_s: float = Field(default=600.0, gt=0)
    caution: float = Field(default=2.0, ge=0, le=10)
    fairness: Fairness = Field(default_factory=Fairness)

    @model_validator(mode="after")
    def _names_are_unique(self) -> "FleetSettings":
        names = [replica.called for replica in self.replicas]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"replicas: two are called {name!r}")
        return self

    def offline(self, seed: int = 0) -> "FleetSettings":
        """Return the same settings, with a solver bounded by moves: the same plan every time.

        One that is bounded by time alone gets the moves that a core makes in that time. A seed
        other than 0 takes the place of the solver's.
        """
        assignment = self.assignment
        if not isinstance(assignment, PlannedAssignment):
            return self
        solver = assignment.solver
        moves = solver.move_budget
        if moves is None and solver.time_budget_ms is not None:
            moves = round(solver.time_budget_ms * FLEET_MOVES_PER_MS)
        bounded = replace(solver, time_budget_ms=None, move_budget=moves, seed=seed or solver.seed)
        return self.model_copy(update={"assignment": replace(assignment, solver=bounded)})

    def plan_s(self) -> float:
        """Return what a plan is charged in virtual time, s: its budget, and what comes on top."""
        if not isinstance(self.assignment, PlannedAssignment):
            return 0.0
        solver = self.assignment.solver
        moves, budget = solver.move_budget, solver.time_budget_ms
        of_moves = inf if moves is None else moves / FLEET_MOVES_PER_MS
        return (min(of_moves, inf if budget is None else budget) + FLEET_ALLOWANCE_MS) / 1e3

    def bounds(self, rejects: AbstractSet[str], downgrades: Mapping[str, SloClass]) -> Overload:
        """Return the bounds of the queue."""
        tokens = inf if self.max_waiting_tokens is None else self.max_waiting_tokens
        return Overload(
            rejects, downgrades, self.max_waiting, tokens, self.max_wait_s, self.caution
        )
