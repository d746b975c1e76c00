"""What is tuned of each policy if nobody says what."""

from collections.abc import Iterator, Sequence

from slosched.config.document import Document
from slosched.config.load import build
from slosched.config.schema import Settings, dump
from slosched.core.errors import ConfigError
from slosched.whatif.space import Parameter, check, current, from_option

# Guards are left out: they are a promise to each request, which attainment always gains by
# breaking. So are planner.solve_ms, which only a simulation has, and what docs/tuning.md shows to
# do nothing.
_PLANNED = (
    "policy.objective.tardiness_weight=0.01..0.9:log",
    "policy.objective.latency_weight=1e-6..0.01:log",
    "policy.preemption=true,false",
    "policy.admission_gate=true,false",
    "policy.prefill_budget=true,false",
    "policy.robust=true,false",
)
_SOLVERS = {
    "anneal": (
        "policy.solver.time_budget_ms=1.0..20.0:log",
        "policy.solver.acceptance=1e-6..0.5:log",
        "policy.solver.cooling=0.7..0.98",
        "policy.solver.restarts=1..4",
        "policy.solver.horizon=32..256:log",
        "policy.solver.max_preemptions=0..4",
    ),
    "slo_sa": (
        "policy.solver.move_budget=200..5000:log",
        "policy.solver.acceptance=0.01..0.9",
        "policy.solver.cooling=0.7..0.98",
    ),
}
_POLICIES = {
    "planned": _PLANNED,
    "aged_sjf": ("policy.tokens_per_second=0.5..200.0:log",),
    "isrtf": ("policy.window=10..200:log", "policy.preemption=true,false"),
    "ltr": ("policy.preemption=true,false",),
    "slo_sa": (
        "policy.move_budget=200..5000:log",
        "policy.acceptance=0.01..0.9",
        "policy.cooling=0.7..0.98",
    ),
}
_MARGIN = ("planner.margin.quantile=0.4..0.9",)
_PREDICTORS = {
    "history": ("planner.repredict_tokens=10..100:log", "predictor.half_life=100.0..5000.0:log"),
    "noisy_classes": ("planner.repredict_tokens=10..100:log",),
}


def space_of(options: Sequence[str], document: Document) -> list[Parameter]:
    """Read what is to be searched, or if nothing is named, take what the policy has.

    Raises
    ------
    ConfigError
        If an option is malformed, or does not fit the configuration.
    """
    space = [from_option(option) for option in options] or default_space(build(document))
    check(space, document)
    return space


def default_space(settings: Settings) -> list[Parameter]:
    """Return what is worth searching of a configuration.

    Raises
    ------
    ConfigError
        If its policy has no such parameter.
    """
    plain = dump(settings)
    space = [from_option(option) for option in _options(settings)]
    # What is null is not in use: a time budget beside a budget of moves, say.
    space = [parameter for parameter in space if current(plain, parameter.path) is not None]
    if not space:
        raise ConfigError(
            f"--param: policy {settings.policy.kind} has nothing that is tuned by default: "
            "name parameters, as in --param planner.repredict_tokens=10..100"
        )
    return space


def _options(settings: Settings) -> Iterator[str]:
    kind, solver = settings.policy.kind, getattr(settings.policy, "solver", None)
    yield from _POLICIES.get(kind, ())
    if solver is not None:
        bounded = getattr(solver, "move_budget", None) is not None
        for option in _SOLVERS.get(solver.kind, ()):
            # In a simulation a budget of moves is what counts, if there is one.
            if not (bounded and "time_budget_ms" in option):
                yield option
    if kind in _POLICIES:
        yield from _PREDICTORS.get(settings.predictor.kind, ())
    if kind in ("planned", "slo_sa"):
        yield from _MARGIN
