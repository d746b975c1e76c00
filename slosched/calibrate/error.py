"""How far a fitted model is from what was measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from slosched.calibrate.observation import Observation, Regime, times
from slosched.core.types import FloatArray


class Model(Protocol):
    """What was fitted."""

    def seconds(self, observations: Sequence[Observation]) -> FloatArray:
        """Say how long each stretch should have taken, shape (n,)."""
        ...


@dataclass(frozen=True, slots=True)
class RelativeError:
    """Of some measurements: shares of what was measured.

    Parameters
    ----------
    median, p90
        Of the error's size.
    bias
        Median of the error: above 0 where the model is too slow.
    """

    median: float
    p90: float
    bias: float
    measurements: int


def relative(model: Model, observations: Sequence[Observation]) -> FloatArray:
    """Say by which share of what was measured the model is off, shape (n,)."""
    return model.seconds(observations) / times(observations) - 1


def by_regime(model: Model, observations: Sequence[Observation]) -> dict[str, RelativeError]:
    """Sum up the errors of each regime that was measured."""
    found = {}
    for regime in Regime:
        chosen = [o for o in observations if o.regime is regime]
        if chosen:
            found[regime.value] = sum_up(relative(model, chosen))
    return found


@dataclass(frozen=True, slots=True)
class CaseError:
    """Of measurements of one thing.

    Parameters
    ----------
    measured_ms, modelled_ms
        Medians; of one step where the engine decodes, else of all of them.
    error
        Median share by which the model is off; above 0 where it is too slow.
    """

    regime: str
    what: str
    measurements: int
    measured_ms: float
    modelled_ms: float
    error: float


def by_case(model: Model, observations: Sequence[Observation]) -> list[CaseError]:
    """Sum up the errors of measurements that are alike, in the order of what was computed."""
    groups: dict[tuple[Regime, str], list[Observation]] = {}
    usual = list(Regime)
    for o in sorted(observations, key=lambda o: (usual.index(o.regime), o.prefill, o.context)):
        groups.setdefault((o.regime, o.what), []).append(o)
    found = []
    for (regime, what), alike in groups.items():
        steps = np.array([o.steps if regime is Regime.decode else 1 for o in alike])
        measured = 1e3 * float(np.median(times(alike) / steps))
        modelled = 1e3 * float(np.median(model.seconds(alike) / steps))
        error = float(np.median(relative(model, alike)))
        found.append(CaseError(regime.value, what, len(alike), measured, modelled, error))
    return found


def sum_up(errors: FloatArray) -> RelativeError:
    """Sum up relative errors, shape (n,), of which there is at least one."""
    size = np.abs(errors)
    return RelativeError(
        float(np.median(size)),
        float(np.percentile(size, 90)),
        float(np.median(errors)),
        len(errors),
    )
