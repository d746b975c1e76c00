"""slosched inside stock vLLM.

`vllm serve MODEL --scheduler-cls slosched.vllm.SloScheduler --middleware
slosched.vllm.SloMiddleware` is all it takes. Start reading at `scheduler.py`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slosched.vllm.middleware import SloMiddleware
    from slosched.vllm.scheduler import SloScheduler

__all__ = ["SloMiddleware", "SloScheduler"]

_HOMES = {"SloMiddleware": "slosched.vllm.middleware", "SloScheduler": "slosched.vllm.scheduler"}


def __getattr__(name: str) -> object:
    """Import on first use: the middleware needs no scheduler, and neither needs vLLM yet."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
