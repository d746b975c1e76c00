"""slosched: serve every LLM request by the deadline that it asked for."""

from slosched.core.ask import slo_headers, with_slo
from slosched.core.errors import (
    ConfigError,
    EngineError,
    PlanError,
    ServerError,
    SloschedError,
    TagError,
    TraceError,
)
from slosched.core.latency import LinearLatency, fit
from slosched.core.objective import Objective
from slosched.core.plan import Plan
from slosched.core.protocols import (
    Learner,
    Policy,
    Predictor,
    Problem,
    Solution,
    Solver,
)
from slosched.core.request import Request, TracedRequest
from slosched.core.slo import Slo, SloClass
from slosched.core.snapshot import EngineLimits, Snapshot
from slosched.version import __version__

__all__ = [
    "ConfigError",
    "EngineError",
    "EngineLimits",
    "Learner",
    "LinearLatency",
    "Objective",
    "Plan",
    "PlanError",
    "Policy",
    "Predictor",
    "Problem",
    "Request",
    "ServerError",
    "Slo",
    "SloClass",
    "SloschedError",
    "Snapshot",
    "Solution",
    "Solver",
    "TagError",
    "TraceError",
    "TracedRequest",
    "__version__",
    "fit",
    "slo_headers",
    "with_slo",
]
