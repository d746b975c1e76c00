"""The planner's log lines, among vLLM's own."""

import structlog
from vllm.logger import init_logger


def log_beside_vllm() -> None:
    """Hand slosched's log to vLLM's, which knows where logs go; unless somebody has set it up."""
    if structlog.is_configured():
        return
    structlog.configure(
        logger_factory=lambda *_: init_logger("vllm.slosched"),
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[
            structlog.stdlib.filter_by_level,
            # Its own traceback would show the value of every variable: whole snapshots.
            structlog.dev.ConsoleRenderer(
                colors=False, exception_formatter=structlog.dev.plain_traceback
            ),
        ],
    )
