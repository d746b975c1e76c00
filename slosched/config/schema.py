"""The configuration's shape, and what it builds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from math import inf
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from slosched.config.access import AccessSettings
from slosched.config.engine import Engine, EngineSettings
from slosched.config.fleet import FleetSettings
from slosched.config.learned import at_once, background
from slosched.config.parts import (
    POLICIES,
    SOLVERS,
    AnyPolicy,
    AnyPredictor,
    Custom,
    CustomPredictor,
    PlannedPolicy,
    SloSaPolicy,
)
from slosched.config.planning import MOVES_PER_MS, PlannerSettings
from slosched.config.profile import load_profile
from slosched.config.request_log import RequestLogSettings
from slosched.config.validate import LenientSchema
from slosched.core.detailed_latency import StepLatency
from slosched.core.errors import ConfigError
from slosched.core.latency import LinearLatency
from slosched.core.objective import Objective
from slosched.core.protocols import Policy, Predictor, Solver
from slosched.core.request import TracedRequest
from slosched.core.slo import Slo, SloClass
from slosched.core.snapshot import EngineLimits
from slosched.core.tags import Tagger
from slosched.dispatch import Dispatcher
from slosched.planner import Planner
from slosched.policies.unions import by_kind
from slosched.predictors.history import History
from slosched.predictors.learned import Learned
from slosched.predictors.noisy_classes import NoisyClasses
from slosched.predictors.oracle import Oracle
from slosched.sim.options import EngineOptions
from slosched.traces.workload import AssignRule, Gamma, Poisson, Recorded
from slosched_server.overload import Overload
from slosched_server.settings import ServerSettings
from slosched_server.telemetry import TelemetrySettings
from slosched_solvers.anneal import Anneal
from slosched_solvers.cpsat import CpSat
from slosched_solvers.exhaustive import Exhaustive
from slosched_solvers.slo_sa import SloSa

if TYPE_CHECKING:
    from slosched.sim.engine import SimulatedEngine
    from slosched.sim.truth import StepTimes

OFFLINE_MOVES = 100_000
OFFLINE_HORIZON = 1000
_Annealer = TypeVar("_Annealer", bound=Anneal | SloSa)
_STRICT = ConfigDict(extra="forbid", frozen=True)


class SloClassSettings(BaseModel):
    """A class of requests: at least one limit, in ms.

    Before several replicas, `overload: reject` refuses who would be late or make others late, and
    `overload: downgrade` serves them as the class `downgrade_to`.
    """

    model_config = _STRICT

    ttft_ms: float = Field(default=inf, gt=0)
    tpot_ms: float = Field(default=inf, gt=0)
    e2e_ms: float = Field(default=inf, gt=0)
    weight: float = Field(default=1.0, gt=0, lt=inf)
    service_tier: str | None = None
    overload: Literal["accept", "downgrade", "reject"] = "accept"
    downgrade_to: str | None = None

    @model_validator(mode="after")
    def _limited(self) -> "SloClassSettings":
        if min(self.ttft_ms, self.tpot_ms, self.e2e_ms) == inf:
            raise ValueError("needs at least one of ttft_ms, tpot_ms and e2e_ms")
        if (self.overload == "downgrade") != (self.downgrade_to is not None):
            raise ValueError("downgrade_to: goes with overload: downgrade, and that with it")
        return self

    def build(self, name: str) -> SloClass:
        """Return the class under its name, in seconds."""
        slo = Slo(self.ttft_ms / 1e3, self.tpot_ms / 1e3, self.e2e_ms / 1e3, self.weight)
        return SloClass(name, slo, self.service_tier)


@dataclass(frozen=True, slots=True)
class AssignSettings(AssignRule):
    """A rule that gives requests of a trace a class; `class` in YAML."""

    slo_class: Annotated[str, Field(alias="class")]


class WorkloadSettings(BaseModel):
    """How a trace becomes requests, offline."""

    model_config = _STRICT

    assign: list[AssignSettings] = Field(default_factory=list)
    arrivals: Annotated[Recorded | Poisson | Gamma, *by_kind("recorded")] = Field(
        default_factory=Recorded
    )


class WhatIfSettings(BaseModel):
    """What `simulate` tries beside the configuration itself.

    `grid` has a list of values for each path such as `engine.max_num_seqs`, for `load` and for
    `policy`; every combination is a run.
    """

    model_config = _STRICT

    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(default_factory=dict)


class Settings(BaseModel):
    """All that can be configured; every field but `classes` has a default."""

    model_config = _STRICT

    # Names travel in headers and metric labels.
    classes: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")], SloClassSettings] = (
        Field(min_length=1)
    )
    default_class: str = ""
    policy: AnyPolicy = Field(default_factory=PlannedPolicy)
    predictor: AnyPredictor = Field(default_factory=History)
    planning: PlannerSettings = Field(default_factory=PlannerSettings, alias="planner")
    engine: Engine = Field(default_factory=EngineSettings)
    workload: WorkloadSettings = Field(default_factory=WorkloadSettings)
    server: ServerSettings = Field(default_factory=ServerSettings)
    telemetry: TelemetrySettings = Field(default_factory=TelemetrySettings)
    whatif: WhatIfSettings = Field(default_factory=WhatIfSettings)
    request_log: RequestLogSettings | None = None
    fleet: FleetSettings = Field(default_factory=FleetSettings)
    access: AccessSettings = Field(default_factory=AccessSettings)

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        self.tagger()
        tiers = [c.service_tier for c in self.classes.values() if c.service_tier]
        if len(set(tiers)) < len(tiers):
            raise ValueError("classes: two classes have the same service_tier")
        self._downgrades_end()
        for i, rule in enumerate(self.workload.assign):
            if rule.slo_class not in self.classes:
                raise ValueError(f"workload.assign.{i}.class: no class {rule.slo_class!r}")
        return self

    def _downgrades_end(self) -> None:
        """Check that downgrades lead to classes, and end somewhere."""
        for name in self.classes:
            passed, at = {name}, self.classes[name].downgrade_to
            while at is not None:
                if at not in self.classes:
                    raise ValueError(f"classes.{name}.downgrade_to: no class {at!r}")
                if at in passed:
                    raise ValueError(f"classes.{name}.downgrade_to: leads back to {at!r}")
                passed.add(at)
                at = self.classes[at].downgrade_to

    def slo_classes(self) -> dict[str, SloClass]:
        """Return the classes by name."""
        return {name: limits.build(name) for name, limits in self.classes.items()}

    def tagger(self) -> Tagger:
        """Return a reader of request tags; the first class is the default if none is named."""
        return Tagger(self.slo_classes(), self.default_class or next(iter(self.classes)))

    def latency(self) -> LinearLatency:
        """Return the engine's step times, as the profile has them."""
        return load_profile(self.engine.profile).latency()

    def steps(self) -> StepLatency:
        """Return how long a simulated engine's steps take: in detail, if the profile has that."""
        return load_profile(self.engine.profile).steps()

    def limits(self) -> EngineLimits:
        """Return what the engine holds."""
        return self.engine.limits()

    def engine_options(self) -> EngineOptions:
        """Return how a simulated engine schedules, and what comes before, as the profile has it."""
        return replace(self.engine.options(), overhead=load_profile(self.engine.profile).overhead())

    def simulated_engine(
        self,
        trace: Sequence[TracedRequest] = (),
        truth: "StepTimes | None" = None,
        lengths: Mapping[str, int] | None = None,
    ) -> "SimulatedEngine":
        """Return a fresh simulated engine, with a planner unless vLLM schedules by itself.

        Parameters
        ----------
        trace
            What it is to serve; the oracle is told its lengths.
        truth
            How long steps really take; as the profile says in detail by default.
        lengths
            In place of those: output tokens of the live requests alone, which come and go.

        Raises
        ------
        ConfigError
            If a part cannot be built, or needs more lengths than there are.
        """
        from slosched.sim.engine import SimulatedEngine  # brings numba
        from slosched.sim.truth import ExactSteps

        options = self.engine_options()
        planner = None
        if options.scheduler == "slosched":
            if lengths is not None and isinstance(self.predictor, NoisyClasses):
                raise ConfigError(
                    "predictor.kind: noisy_classes needs all lengths beforehand, which a stream "
                    "does not have: use history or oracle"
                )
            planner = self.planner(trace, lengths)
        truth = truth or ExactSteps(self.steps())
        return SimulatedEngine(planner, self.limits(), self.latency(), truth, options)

    def online_engine(self) -> "SimulatedEngine":
        """Return a fresh simulated engine for requests that come by a real clock.

        Plans are made beside it, as beside a real one, and each block of a prompt has a name.

        Raises
        ------
        ConfigError
            If a part cannot be built, or is for plans offline only.
        """
        from slosched.sim.engine import SimulatedEngine  # brings numba
        from slosched.sim.truth import ExactSteps

        limits = self.limits()
        options = replace(self.engine_options(), page_tokens=limits.block_size)
        planner = self.planner() if options.scheduler == "slosched" else None
        truth = ExactSteps(self.steps())
        return SimulatedEngine(planner, limits, self.latency(), truth, options)

    def with_policy(self, kind: str) -> "Settings":
        """Return the same settings under another policy, with its defaults."""
        if kind not in POLICIES:
            raise ConfigError(f"--policy: {_unknown('policy', kind, POLICIES)}")
        if self.policy.kind == kind:
            return self
        return self.model_copy(update={"policy": POLICIES[kind]()})

    def with_plain_predictor(self) -> "Settings":
        """Return the same settings with a predictor that costs nothing: one that stands in."""
        return self.model_copy(update={"predictor": History()})

    def planner(
        self,
        trace: Sequence[TracedRequest] | None = None,
        lengths: Mapping[str, int] | None = None,
    ) -> Planner:
        """Build a fresh planner: beside the engine online, in virtual time offline.

        Parameters
        ----------
        trace
            What is simulated; the oracle is told its lengths. None online.
        lengths
            What it is told instead: output tokens by request id.

        Raises
        ------
        ConfigError
            If a custom part cannot be built, or an oracle is asked for online.
        """
        policy: Policy = self.policy  # type: ignore[assignment]
        if isinstance(self.policy, Custom):
            policy = cast("Policy", self.policy.build())
        elif isinstance(self.policy, PlannedPolicy):
            solver = self.policy.solver
            if trace is None and isinstance(solver, CpSat | Exhaustive):
                raise ConfigError(
                    f"policy.solver.kind: {solver.kind} is for plans offline only, use anneal"
                )
            if isinstance(solver, Custom):
                built: Any = solver.build()
                policy = replace(self.policy, solver=built)
        offline = trace is not None
        predictor = self.lengths(trace, lengths)
        return self.planning.build(policy, predictor, self.policy.guard, offline=offline)

    def dispatcher(self, trace: Sequence[TracedRequest] | None = None) -> Dispatcher:
        """Build the queue before replicas, which are to be added, by the section `fleet`.

        Parameters
        ----------
        trace
            What is simulated; the oracle is told its lengths. None online.

        Raises
        ------
        ConfigError
            If a part cannot be built, or an oracle is asked for online.
        """
        fleet, planning = self.fleet, self.planning
        return Dispatcher(
            fleet.assignment,
            self.lengths(trace),
            repredict_tokens=planning.repredict_tokens,
            margin=planning.margin,
            fairness=fleet.fairness,
        )

    def overload(self) -> Overload:
        """Return the bounds of the queue before replicas, and who is guarded by them."""
        rejects = {name for name, of in self.classes.items() if of.overload == "reject"}
        built = self.slo_classes()
        downgrades = {
            name: built[of.downgrade_to] for name, of in self.classes.items() if of.downgrade_to
        }
        return self.fleet.bounds(rejects, downgrades)

    def lengths(
        self,
        trace: Sequence[TracedRequest] | None = None,
        known: Mapping[str, int] | None = None,
    ) -> Predictor:
        """Build a fresh predictor, see `planner`."""
        predictor = self.predictor
        if isinstance(predictor, CustomPredictor):
            return cast("Predictor", predictor.build())
        if isinstance(predictor, Learned):
            every = self.planning.repredict_tokens
            return at_once(predictor) if trace is not None else background(predictor, every)
        if not isinstance(predictor, Oracle | NoisyClasses):
            return replace(predictor)  # without what it learnt in another run
        if trace is None:
            raise ConfigError(
                f"predictor.kind: {predictor.kind} knows lengths from a trace: offline only, "
                "use history"
            )
        if known is None:
            known = {t.request.request_id: t.output_tokens for t in trace}
        return replace(predictor, lengths=known)

    def objective(self) -> Objective:
        """Return what an order is worth: the planned policy's objective, or the default."""
        return self.policy.objective if isinstance(self.policy, PlannedPolicy) else Objective()

    def solver(self, kind: str, seed: int = 0) -> Solver:
        """Return a solver by kind: the configured one, or one with its defaults.

        Offline there is no step to hide in, so an annealer that was left at its default budget
        or horizon gets larger ones; and it is bounded by moves.
        """
        configured = getattr(self.policy, "solver", self.policy)
        if kind not in SOLVERS:
            raise ConfigError(f"--solver: {_unknown('solver', kind, SOLVERS)}")
        solver = configured if configured.kind == kind else SOLVERS[kind]()
        if isinstance(solver, SloSa):
            return _bounded_by_moves(solver, seed)
        if not isinstance(solver, Anneal):
            return cast("Solver", solver)
        usual = Anneal()
        moves, horizon = solver.move_budget, solver.horizon
        if moves is None and solver.time_budget_ms == usual.time_budget_ms:
            moves = OFFLINE_MOVES
        if horizon == usual.horizon:
            horizon = OFFLINE_HORIZON
        return _bounded_by_moves(replace(solver, move_budget=moves, horizon=horizon), seed)

    def offline(self, seed: int = 0) -> "Settings":
        """Return the same settings, with solvers bounded by moves: the same result every time.

        An annealer that is bounded by time alone gets the moves that a core makes in that time.
        A seed other than 0 takes the place of the solver's.
        """
        policy = self.policy
        if isinstance(policy, SloSaPolicy):
            policy = _bounded_by_moves(policy, seed)
        elif isinstance(policy, PlannedPolicy) and isinstance(policy.solver, Anneal | SloSa):
            policy = replace(policy, solver=_bounded_by_moves(policy.solver, seed))
        fleet = self.fleet.offline(seed)
        return self.model_copy(update={"policy": policy, "fleet": fleet})


def dump(settings: Settings) -> dict[str, Any]:
    """Return settings as plain data, as YAML has them; limits that are not set are left out."""
    adapter = TypeAdapter(Settings)
    plain: dict[str, Any] = _without_infinite(adapter.dump_python(settings, by_alias=True))
    return plain


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of the configuration."""
    return TypeAdapter(Settings).json_schema(schema_generator=LenientSchema)


def _without_infinite(value: Any) -> Any:  # noqa: ANN401 - plain data of any shape
    if isinstance(value, dict):
        return {
            k: _without_infinite(v) for k, v in value.items() if v != inf and not k.startswith("_")
        }
    return [_without_infinite(v) for v in value] if isinstance(value, list) else value


def _bounded_by_moves(solver: _Annealer, seed: int) -> _Annealer:
    bounds: dict[str, Any] = {"time_budget_ms": None, "seed": seed or solver.seed}
    if solver.move_budget is None and solver.time_budget_ms is not None:
        bounds["move_budget"] = round(solver.time_budget_ms * MOVES_PER_MS)
    return replace(solver, **bounds)


def _unknown(what: str, kind: str, known: Iterable[str]) -> str:
    close = get_close_matches(kind, known, 1)
    hint = f", did you mean {close[0]}?" if close else ""
    return f"unknown {what} {kind!r}{hint} (known: {', '.join(known)})"
