"""Values put over those of a document: from `--set` options and environment variables."""

import json
import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from slosched.config.document import Document, Entry, Path, Place, dotted, hint, show
from slosched.config.yaml import load_at
from slosched.core.errors import ConfigError

_NAME = re.compile(r'(?:^|\.)(?:"([^"]*)"(?=\.|$)|([^.]*))')
ENVIRONMENT_PREFIX = "SLOSCHED_"
RESERVED_VARIABLES = frozenset({"SLOSCHED_CONFIG", "SLOSCHED_EDITS", "SLOSCHED_SET"})


@dataclass(frozen=True, slots=True)
class Override:
    """One value to put in place of, or next to, what the file says.

    Parameters
    ----------
    path
        Keys from the root, and indices of lists that exist.
    text
        The value, in YAML; a mapping or list replaces the old one whole.
    origin
        What to call it in errors.
    """

    path: tuple[str, ...]
    text: str
    origin: str


def environment(environ: Mapping[str, str], fields: Iterable[str]) -> list[Override]:
    """Read overrides from variables such as `SLOSCHED_POLICY__KIND=fcfs`, by name.

    Parameters
    ----------
    environ
        All environment variables; those without our prefix and `RESERVED_VARIABLES` are not ours.
    fields
        Names of the configuration's top-level fields.

    Raises
    ------
    ConfigError
        If a variable with our prefix names no field.
    """
    known = sorted(fields)
    overrides = []
    for variable in sorted(environ):
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in RESERVED_VARIABLES:
            continue
        path = tuple(variable.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"))
        if path[0] not in known:
            raise ConfigError(f"{variable}: unknown field {path[0]!r}{hint(path[0], known)}")
        overrides.append(Override(path, environ[variable], variable))
    return overrides


def change(path: str, value: object, origin: str) -> Override:
    """Put a value that is known already at a path such as `policy.solver.cooling`."""
    return Override(_names(path), json.dumps(value, ensure_ascii=False), origin)


def apply_overrides(document: Document, overrides: Iterable[Override | str]) -> Document:
    """Put values over those of a document, in turn; the document itself stays as it is.

    Parameters
    ----------
    overrides
        Texts as `--set` takes them, `policy.solver.cooling=0.9`, or an `environment`'s. A name
        that has dots is quoted: `classes."v1.5".ttft_ms=500`.

    Raises
    ------
    ConfigError
        If one is malformed, or leads into something that is neither mapping nor list.
    """
    value, places = deepcopy(document.value), dict(document.places)
    for override in overrides:
        _apply(from_option(override) if isinstance(override, str) else override, value, places)
    return Document(value, places)


def from_option(option: str) -> Override:
    """Read an override as `--set` takes it; ConfigError if it is no PATH=VALUE."""
    dotted, equals, text = option.partition("=")
    if not equals:
        raise ConfigError(f"--set {option}: must be PATH=VALUE, as in policy.kind=fcfs")
    return Override(_names(dotted.strip()), text, f"--set {dotted.strip()}")


def _names(path: str) -> tuple[str, ...]:
    """Take a path apart; a name in quotes may have dots in it."""
    return tuple(quoted or plain for quoted, plain in _NAME.findall(path))


def _apply(override: Override, value: dict[str, Any], places: dict[Path, Entry]) -> None:
    place = Place(override.origin)
    if not all(override.path):
        raise ConfigError(f"{place}: a name in the path is empty")
    # Walk to the parent, making mappings where there is nothing yet.
    parent: Any = value
    path: Path = ()
    for name in override.path[:-1]:
        key = _key(parent, name, path, place)
        if isinstance(parent, dict) and parent.get(name) is None:
            parent[name] = {}
            places[*path, name] = Entry(place, place)
        parent, path = parent[key], (*path, key)
    key = _key(parent, override.path[-1], path, place)
    path = (*path, key)
    for old in [p for p in places if p[: len(path)] == path]:
        del places[old]
    parent[key] = load_at(override.text, lambda _: place, path, places)


def _key(parent: object, name: str, path: Path, place: Place) -> Any:  # noqa: ANN401
    """Look up what `name` is called in `parent`: itself in a mapping, its number in a list."""
    if isinstance(parent, dict):
        return name
    if not isinstance(parent, list):
        raise ConfigError(f"{place}: {dotted(path)} is {show(parent)}, not a mapping")
    if not (name.isdecimal() and int(name) < len(parent)):
        raise ConfigError(f"{place}: {dotted(path)} is a list of {len(parent)}, no item {name!r}")
    return int(name)
