"""A simulated engine's server on a free port, in this process's loop."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from typing import Any

from slosched.config.load import load
from slosched.simulated_engine.faults import Fault
from slosched.simulated_engine.lengths import Lengths
from slosched.simulated_engine.run import Serving, build
from tests.server.front_end import serving

# 20 ms a step, 0.1 ms a prompt token.
PROFILE = (
    "base_ms: 20\nper_prefill_token_ms: 0.1\nper_sequence_ms: 0.0\nper_context_token_ms: 0.0\n"
)


@asynccontextmanager
async def simulated(
    *overrides: str,
    speed: float = 20.0,
    fault: Fault | None = None,
    around: Callable[[Any], Any] = lambda app: app,
    **more: Any,
) -> AsyncIterator[str]:
    """Serve; gives the URL. The application may be put into another one."""
    settings = load(None, ["engine.scheduler=vllm-fcfs", *overrides])
    engine = settings.online_engine()
    described = Serving(
        "127.0.0.1", 0, "simulated", speed, 4096, lengths=Lengths(**more), fault=fault
    )
    app = build(engine, settings.limits(), settings.tagger(), described)
    with closing(engine):
        async with serving(around(app)) as url:
            yield url
