"""What holds for all tests: no wall-clock limits, and no log of one test in another's."""

from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings

# Machines are shared and noisy: how long an example takes says nothing about the code.
settings.register_profile("slosched", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("slosched")


@pytest.fixture(autouse=True)
def _logs_go_where_they_go_by_default() -> Iterator[None]:
    """Undo what a command set up: its stderr is closed once its test is over."""
    yield
    structlog.reset_defaults()
