"""What holds for all tests: no wall-clock limits, and no log of one test in another's."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

# Kernels check their indices here, in the engines that tests start too: an index out of bounds is
# an error then, and a crash of the engine otherwise. Compiled so, they are kept apart.
os.environ["NUMBA_BOUNDSCHECK"] = "1"
os.environ["NUMBA_CACHE_DIR"] = str(Path(__file__).parents[1] / ".cache" / "numba-boundscheck")

# Needs a control plane of Kubernetes, which scripts/test-kubernetes builds first and then names.
collect_ignore = ["cluster"]

# Machines are shared and noisy: how long an example takes says nothing about the code.
settings.register_profile(
    "slosched",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),  # what CI draws is the change's doing; others explore
)
settings.load_profile("slosched")


@pytest.fixture(autouse=True)
def _logs_go_where_they_go_by_default() -> Iterator[None]:
    """Undo what a command set up: its stderr is closed once its test is over."""
    yield
    structlog.reset_defaults()
