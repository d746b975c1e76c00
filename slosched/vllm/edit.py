"""What the configuration makes of an engine, and of an engine that serves already."""

from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

from slosched.core.errors import PlanError
from slosched.core.latency import LinearLatency
from slosched.core.snapshot import EngineLimits
from slosched.core.tags import Tagger
from slosched.planner import Manner, Planner

if TYPE_CHECKING:
    from slosched.config.schema import Settings

_LONGEST_WARM_UP = 120.0  # s; compiling takes half a minute where cores are scarce


class Edit(NamedTuple):
    """What an edit of the configuration puts in force.

    Parameters
    ----------
    settings
        The configuration.
    tagger
        Its classes.
    manner
        How plans are made; None if that stays as it is.
    keep_predictor
        Whether what predicts lengths stays.
    """

    settings: "Settings"
    tagger: Tagger
    manner: Manner | None
    keep_predictor: bool


def edited(old: "Settings", new: "Settings", limits: EngineLimits, latency: LinearLatency) -> Edit:
    """Build what differs, and try it.

    Raises
    ------
    ConfigError
        If a part cannot be built.
    PlanError, TimeoutError
        If plans fail, or never come.
    """
    same_lengths = new.predictor == old.predictor
    if same_lengths and (new.policy, new.planning) == (old.policy, old.planning):
        return Edit(new, new.tagger(), None, keep_predictor=True)
    planner = (new.with_plain_predictor() if same_lengths else new).planner()
    warm_up(planner, limits, latency)
    if planner.failures:
        planner.close()
        raise PlanError("policy or predictor fail where they are tried")
    return Edit(new, new.tagger(), planner.manner, same_lengths)


def warm_up(planner: Planner, limits: EngineLimits, latency: LinearLatency) -> None:
    """Let kernels be compiled before they are needed; TimeoutError if a solver hangs."""
    thread = Thread(target=planner.warm_up, args=(limits, latency), daemon=True)
    thread.start()
    thread.join(_LONGEST_WARM_UP)
    if thread.is_alive():
        raise TimeoutError(f"no plan after {_LONGEST_WARM_UP:.0f} s")
