"""Attainment that is asked for, in all or of a class."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from slosched.config.document import hint
from slosched.core.errors import ConfigError

ALL = "all"
TOLERANCE = 1e-12  # a share that is met to the last digit of a float is met


@dataclass(frozen=True, slots=True)
class Target:
    """The share of the requests of a class, or of all, that has to meet its SLO."""

    name: str
    share: float

    def met(self, attainment: float) -> bool:
        """Whether so much is enough."""
        return attainment >= self.share - TOLERANCE


def parse(options: Sequence[str], classes: Collection[str]) -> list[Target]:
    """Read targets such as `interactive=0.95`; the last one of a name counts.

    Parameters
    ----------
    classes
        Names that there are, beside `all`.

    Raises
    ------
    ConfigError
        If one is malformed, names no class, or is no share above 0 and up to 1; or if a class is
        called `all`.
    """
    if ALL in classes:
        raise ConfigError(f"classes.{ALL}: a target of {ALL!r} is for all requests, rename it")
    found = [_parse(option, [ALL, *classes]) for option in options]
    return list({target.name: target for target in found}.values())


def _parse(option: str, known: list[str]) -> Target:
    name, equals, text = option.partition("=")
    if not equals:
        raise ConfigError(f"--target {option}: must be CLASS=SHARE, as in all=0.95")
    if name not in known:
        raise ConfigError(f"--target {option}: no class {name!r}{hint(name, known)}")
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise ConfigError(f"--target {option}: must be above 0 and up to 1, as in {name}=0.95")
    return Target(name, share)
