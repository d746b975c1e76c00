"""Serving by a simulated engine until it is told to stop."""

from contextlib import closing
from dataclasses import dataclass, field

import structlog
import uvicorn
from starlette.applications import Starlette

from slosched.core.request import Request, TracedRequest
from slosched.core.slo import Slo
from slosched.core.snapshot import EngineLimits
from slosched.core.tags import Tagger
from slosched.sim.engine import SimulatedEngine
from slosched.sim.online import OnlineEngine
from slosched.simulated_engine.app import create_app
from slosched.simulated_engine.driver import Clock, Driver
from slosched.simulated_engine.faults import Fault
from slosched.simulated_engine.lengths import Lengths
from slosched.simulated_engine.metrics import EngineMetrics
from slosched.simulated_engine.serving import Service
from slosched_server.listen import listen

log = structlog.get_logger()
_DRAIN_S = 5


@dataclass(frozen=True, slots=True)
class Serving:
    """How a simulated engine is served.

    Parameters
    ----------
    host, port
        Where to listen; port 0 takes a free one.
    model
        Name of what it serves.
    speed
        How many times as fast as a real engine's its time passes.
    max_model_len
        Most tokens of a prompt and its answer together.
    overhead
        Seconds before a request is before the scheduler, of the engine's time.
    fault
        In force from the start.
    """

    host: str
    port: int
    model: str
    speed: float
    max_model_len: int
    overhead: float = 0.0
    lengths: Lengths = field(default_factory=Lengths)
    fault: Fault | None = None


def run(engine: SimulatedEngine, limits: EngineLimits, tagger: Tagger, serving: Serving) -> None:
    """Serve until SIGINT or SIGTERM; who is being answered then has some seconds.

    Raises
    ------
    PortError
        If the port cannot be listened on.
    """
    app = build(engine, limits, tagger, serving)
    with closing(listen(serving.host, serving.port)) as listener, closing(engine):
        host, port = listener.getsockname()[:2]
        log.info(
            "simulated engine listening, nothing is computed", url=f"http://{host}:{port}",
            model=serving.model, slots=limits.max_num_seqs, speed=serving.speed,
        )  # fmt: skip
        config = uvicorn.Config(
            app, lifespan="off", log_config=None, access_log=False,
            timeout_graceful_shutdown=_DRAIN_S,
        )  # fmt: skip
        uvicorn.Server(config).run([listener])


def build(
    engine: SimulatedEngine, limits: EngineLimits, tagger: Tagger, serving: Serving
) -> Starlette:
    """Build the application; the engine's time begins now."""
    clock = Clock(serving.speed)
    service = Service(
        Driver(OnlineEngine(engine), clock), clock, limits, tagger, serving.lengths,
        EngineMetrics(engine, limits, serving.model), serving.model, serving.max_model_len,
        serving.overhead,
    )  # fmt: skip
    return create_app(service, engine, serving.fault)


def warm_up(rehearsal: SimulatedEngine) -> None:
    """Let the compilers be done before the first request.

    Parameters
    ----------
    rehearsal
        Another engine of the same settings, in virtual time.
    """
    some = [TracedRequest(Request(str(i), i / 100, 40, Slo(e2e=60.0)), 8) for i in range(8)]
    rehearsal.run(some)
