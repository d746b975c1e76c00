"""What a search may vary: ranges and choices of parameters, each by its path in the YAML."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from slosched.config.document import Document, Place, show
from slosched.config.load import build
from slosched.config.overrides import change
from slosched.config.yaml import load_at
from slosched.core.errors import ConfigError

Scalar = bool | int | float | str | None
# What requests ask for is no parameter, nor is what runs beside the simulator.
TUNABLE = ("policy", "predictor", "planner", "engine")
DIGITS = 3  # significant ones of a value that is tried: more say nothing, and read badly


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`; whole ones if both are, evenly spread over orders if `log`."""

    path: str
    low: float
    high: float
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether numbers between are whole ones."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> tuple[Scalar, ...]:
        """Values that must fit for all others to."""
        return self.low, self.high

    def applied(self, value: Any) -> Scalar:  # noqa: ANN401 - of an optimiser
        """Return the value that is tried when a search suggests one."""
        if self.whole:
            return int(value)
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)

    def has(self, value: object) -> bool:
        """Whether a value lies in the range."""
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and self.low <= value <= self.high  # type: ignore[operator]  # a number

    def __str__(self) -> str:
        return f"{self.path}={self.low}..{self.high}{':log' if self.log else ''}"


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some values."""

    path: str
    values: tuple[Scalar, ...]

    @property
    def ends(self) -> tuple[Scalar, ...]:
        """Values that must fit: all of them."""
        return self.values

    def applied(self, value: Any) -> Scalar:  # noqa: ANN401 - of an optimiser
        """Return the value that is tried when a search suggests one."""
        return value  # type: ignore[no-any-return]  # one of `values`

    def has(self, value: object) -> bool:
        """Whether a value is among them; True is not 1."""
        return any(value == one and type(value) is type(one) for one in self.values)

    def __str__(self) -> str:
        return f"{self.path}={','.join(json.dumps(value) for value in self.values)}"


Parameter = Range | Choice


def from_option(option: str) -> Parameter:
    """Read `A.B=0.7..0.99`, `A.B=1e-6..0.5:log` or `A.B=x,y`, as `--param` takes it.

    Raises
    ------
    ConfigError
        If it is malformed, or nothing that can be tuned.
    """
    path, equals, text = (part.strip() for part in option.partition("="))
    origin = f"--param {path}"
    if not (path and equals and text):
        raise ConfigError(f"--param {option}: must be PATH=LOW..HIGH, with :log, or PATH=A,B")
    if path.split(".")[0] not in TUNABLE:
        raise ConfigError(f"{origin}: is nothing to tune (what is: {', '.join(TUNABLE)})")
    low, dots, high = text.partition("..")
    return _range(path, low, high, origin) if dots else _choice(path, text, origin)


def check(space: Sequence[Parameter], document: Document) -> None:
    """Raise a ConfigError that names a parameter if a configuration has none, or not such values.

    And for a parameter that is there twice.
    """
    seen: set[str] = set()
    for parameter in space:
        if parameter.path in seen:
            raise ConfigError(f"--param {parameter.path}: is there twice")
        seen.add(parameter.path)
        for value in parameter.ends:
            build(document, [change(parameter.path, value, f"--param {parameter.path}")])


def current(plain: object, path: str) -> Any:  # noqa: ANN401 - plain data
    """Look a parameter up in a configuration as plain data; None if it has none."""
    for name in path.split("."):
        plain = plain.get(name) if isinstance(plain, dict) else None
    return plain


def _range(path: str, low: str, high: str, origin: str) -> Range:
    high, _, scale = high.partition(":")
    ends = [load_at(text, lambda _: Place(origin), (), {}) for text in (low, high)]
    if not all(_number(end) for end in ends):
        raise ConfigError(f"{origin}: must be two numbers with .. between them, got {low}..{high}")
    least, most = ends
    if least >= most:  # type: ignore[operator]  # numbers by now
        raise ConfigError(f"{origin}: the first number must be below the second, got {low}..{high}")
    if scale not in ("", "log"):
        raise ConfigError(f"{origin}: after the numbers comes nothing, or :log, got :{scale}")
    if scale and least <= 0:  # type: ignore[operator]  # same
        raise ConfigError(f"{origin}: with :log, numbers must be greater than 0, got {low}")
    return Range(path, least, most, bool(scale))  # type: ignore[arg-type]  # same


def _choice(path: str, text: str, origin: str) -> Choice:
    values = load_at(f"[{text}]", lambda _: Place(origin), (), {})
    if not isinstance(values, list) or len(values) < 2:
        raise ConfigError(f"{origin}: must be LOW..HIGH, or two values or more, got {text}")
    for value in values:
        if isinstance(value, dict | list):
            raise ConfigError(f"{origin}: must be plain values, got {show(value)}")
    return Choice(path, tuple({json.dumps(value): value for value in values}.values()))


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
