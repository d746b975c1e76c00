"""A simulated engine's server on a free port, in this process's loop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from slosched.config.load import load
from slosched.simulated_engine.faults import Fault
from slosched.simulated_engine.lengths import Lengths
from slosched.simulated_engine.run import Serving, build
from slosched_server.listen import listen

# 20 ms a step, 0.1 ms a prompt token.
PROFILE = (
    "base_ms: 20\nper_prefill_token_ms: 0.1\nper_sequence_ms: 0.0\nper_context_token_ms: 0.0\n"
)


@asynccontextmanager
async def simulated(
    *overrides: str, speed: float = 20.0, fault: Fault | None = None, **more: Any
) -> AsyncIterator[str]:
    """Serve; gives the URL."""
    settings = load(None, ["engine.scheduler=vllm-fcfs", *overrides])
    engine, listener = settings.online_engine(), listen("127.0.0.1", 0)
    serving = Serving(
        "127.0.0.1", 0, "simulated", speed, 4096, lengths=Lengths(**more), fault=fault
    )
    app = build(engine, settings.limits(), settings.tagger(), serving)
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
    running = asyncio.create_task(server._serve([listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        await running
        engine.close()
