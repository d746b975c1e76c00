"""One run of the simulator under settings: every what-if goes through here."""

from collections.abc import Sequence
from typing import Any

from slosched.config.schema import Settings, dump
from slosched.core.request import TracedRequest
from slosched.sim.engine import Progress
from slosched.sim.records import Records
from slosched.sim.summary import per_request_arrays, summarize
from slosched.version import __version__


def replay(
    settings: Settings, trace: Sequence[TracedRequest], progress: Progress | None = None
) -> Records:
    """Serve a trace in virtual time, on one engine.

    Parameters
    ----------
    settings
        With solvers bounded by moves (`Settings.offline`), if the result has to repeat.
    progress
        Called with the number of requests that ended, now and then.

    Raises
    ------
    ConfigError
        If a part cannot be built.
    """
    return settings.simulated_engine(trace).run(trace, progress)


def result(settings: Settings, records: Records, *, per_request: bool = False) -> dict[str, Any]:
    """Sum a run up as commands report it: what was run, its figures, and its configuration."""
    run: dict[str, Any] = {"policy": settings.policy.kind, "profile": settings.engine.profile}
    run |= summarize(records)
    run |= {"version": __version__, "config": dump(settings)}
    return run | per_request_arrays(records) if per_request else run
