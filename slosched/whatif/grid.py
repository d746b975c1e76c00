"""The grid of a what-if: every combination of some values, each as settings that were checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from slosched.config.document import Document
from slosched.config.load import build
from slosched.config.schema import Settings, WhatIfSettings
from slosched.core.errors import ConfigError
from slosched.sim.fleet import Sharing
from slosched.whatif.dimension import (
    LOAD,
    POLICY,
    REPLICAS,
    SHARDS,
    Dimension,
    dimension,
    from_document,
    merged,
)
from slosched.whatif.queue import Queued


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination.

    Parameters
    ----------
    values
        Of each dimension, by path.
    settings
        The configuration with these values.
    """

    values: Mapping[str, Any]
    settings: Settings

    @property
    def load(self) -> float:
        """How many times as fast as recorded requests arrive."""
        return float(self.values[LOAD])

    def queued(self, sharing: Sharing, *, measured: bool) -> Queued | None:
        """Return the engines and the queues before them; None for one engine without any.

        Raises
        ------
        ConfigError
            If there are more queues than engines.
        """
        shards = int(self.values.get(SHARDS, 1))
        if REPLICAS not in self.values:
            if SHARDS in self.values:
                raise ConfigError("--shards is of --replicas: say how many there are")
            return None
        try:
            return Queued(int(self.values[REPLICAS]), shards, sharing, measured)
        except ValueError as error:
            raise ConfigError(f"--{error}") from None


@dataclass(frozen=True, slots=True)
class Grid:
    """Dimensions around a configuration.

    Parameters
    ----------
    document
        The configuration.
    dimensions
        The first varies slowest; of different paths.
    """

    document: Document
    dimensions: tuple[Dimension, ...]

    def __len__(self) -> int:
        return prod(len(d.values) for d in self.dimensions)

    def cells(self) -> list[Cell]:
        """Build every combination, each once.

        Raises
        ------
        ConfigError
            If one does not fit; the text names it.
        """
        base = build(self.document)
        combinations = product(*(d.values for d in self.dimensions))
        return [self._cell(base, values) for values in combinations]

    def _cell(self, base: Settings, values: Sequence[object]) -> Cell:
        pairs = list(zip(self.dimensions, values, strict=True))
        # A policy comes first: what else is said of it is said of the new one.
        pairs.sort(key=lambda pair: pair[0].path != POLICY)
        changes = {d.path: d.changes(value, base) for d, value in pairs}
        named = {d.path: value for d, value in zip(self.dimensions, values, strict=True)}
        try:
            settings = build(self.document, [change for of in changes.values() for change in of])
            settings = settings.model_copy(update={"whatif": WhatIfSettings()})  # it is one run
            check(settings)
        except ConfigError as error:
            changed = [f"{path} {named[path]}" for path, of in changes.items() if of]
            if len(changed) < 2:
                raise
            # Several values at once can be wrong where none of them is.
            raise ConfigError(f"{error} (in the run with {', '.join(changed)})") from error
        return Cell(named, settings)


def grid(
    document: Document, options: Sequence[Dimension] = (), loads: Sequence[float] = ()
) -> Grid:
    """Put a grid together from the configuration's own, and from what is asked for besides.

    Parameters
    ----------
    document
        A configuration; its grid gives way to options of the same path.
    options
        As many as wanted of a path.
    loads
        What is meant where neither says anything about the load.

    Raises
    ------
    ConfigError
        If the configuration does not fit.
    """
    settings = build(document)
    asked = merged(options)
    paths = {d.path for d in asked}
    own = [d for d in from_document(document) if d.path not in paths]
    usual = [dimension(LOAD, loads or [1.0], "--load")]
    usual.append(dimension(POLICY, [settings.policy.kind], "--policy"))
    found = {d.path: d for d in (*usual, *own, *asked)}
    # One load after the other, as it makes the most of a difference; policies side by side.
    order = [LOAD, *(path for path in found if path not in (LOAD, POLICY)), POLICY]
    return Grid(document, tuple(found[path] for path in order))


def policies(document: Document, names: Sequence[str]) -> list[Settings]:
    """Build a configuration under each of some policies, or the configured one if none is named.

    Raises
    ------
    ConfigError
        If one does not fit.
    """
    kinds = list(names) or [build(document).policy.kind]
    both = (dimension(LOAD, [1.0], "--load"), dimension(POLICY, kinds, "--policy"))
    return [cell.settings for cell in Grid(document, both).cells()]


def check(settings: Settings) -> None:
    """Raise a ConfigError for what would fail only once something runs."""
    settings.latency()  # the profile is a file of its own
    settings.planner(trace=[])  # custom parts are built
