"""A fit as a latency profile: the YAML file that `engine.profile` names."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import yaml

from slosched.calibrate.detail import Detailed
from slosched.calibrate.error import RelativeError
from slosched.calibrate.fit import Fitted
from slosched.calibrate.limits import Limits

_DIGITS = 4


def coefficients(fitted: Fitted) -> dict[str, float]:
    """Return the model in ms, as profiles have it, to four digits."""
    model = fitted.latency
    return {
        "base_ms": _ms(model.base),
        "per_prefill_token_ms": _ms(model.per_prefill_token),
        "per_sequence_ms": _ms(model.per_sequence),
        "per_context_token_ms": _ms(model.per_context_token),
    }


def profile(
    fitted: Fitted,
    errors: Mapping[str, RelativeError],
    limits: Limits,
    about: Mapping[str, object],
    overhead: bool = True,
    detail: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write a profile as plain data.

    Parameters
    ----------
    errors
        By regime.
    about
        Where it is from: source, model, hardware, versions, date; None is left out.
    overhead
        Whether what a request costs outside of steps was measured.
    detail
        The detailed model, as `detail` writes it.
    """
    engine = {name: value for name, value in asdict(limits).items() if name != "known_from"}
    engine = {name: value for name, value in engine.items() if value is not None}
    return {
        **coefficients(fitted),
        **({"overhead_ms": _ms(fitted.overhead)} if overhead else {}),
        **({"engine": engine, "engine_known_from": dict(limits.known_from)} if engine else {}),
        **{name: value for name, value in about.items() if value is not None},
        "error": in_words(errors),
        "relative_error": {regime: _plain(error) for regime, error in errors.items()},
        **({"detail": dict(detail)} if detail else {}),
    }


def detail(found: Detailed, errors: Mapping[str, RelativeError]) -> dict[str, Any]:
    """Write a detailed model as plain data, for a profile's `detail`."""
    model = found.latency
    return {
        "base_ms": _ms(model.base),
        "per_prefill_token_ms": _ms(model.per_prefill_token),
        "prompt_step_ms": _ms(model.prompt_step),
        "per_context_token_ms": _ms(model.per_context_token),
        "sequences_ms": {number: _ms(seconds) for number, seconds in model.sequences},
        "overhead_ms": _ms(found.overhead),
        "error": in_words(errors),
    }


def to_yaml(plain: Mapping[str, Any]) -> str:
    """Write plain data as YAML, in its order."""
    text: str = yaml.safe_dump(dict(plain), sort_keys=False, allow_unicode=True, width=100)
    return text


def in_words(errors: Mapping[str, RelativeError]) -> str:
    """Say how far the model is off, for people."""
    parts = [
        f"{regime.replace('_', ' ')} {100 * error.median:.1f}% (90% within {100 * error.p90:.1f}%)"
        for regime, error in errors.items()
    ]
    return "median: " + ", ".join(parts)


def _plain(error: RelativeError) -> dict[str, float | int]:
    return {
        "median": round(error.median, _DIGITS),
        "p90": round(error.p90, _DIGITS),
        "bias": round(error.bias, _DIGITS),
        "measurements": error.measurements,
    }


def _ms(seconds: float) -> float:
    return float(f"{seconds * 1e3:.{_DIGITS}g}")
