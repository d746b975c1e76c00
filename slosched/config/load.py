"""Configuration from a file, `--set` options and the environment, in that order of precedence."""

import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from pydantic import TypeAdapter

from slosched.config.document import Document
from slosched.config.overrides import Override, apply_overrides, environment
from slosched.config.schema import Settings
from slosched.config.validate import validate
from slosched.config.yaml import load_yaml, read_text


def load(path: Path | None = None, overrides: Sequence[Override | str] = ()) -> Settings:
    """Read the configuration, see `read`, and build its objects.

    Raises
    ------
    ConfigError
        If the file cannot be read or does not fit; a line for each problem.
    """
    return build(read(path, overrides))


def read(path: Path | None = None, overrides: Sequence[Override | str] = ()) -> Document:
    """Read the configuration as plain data, whether it fits or not.

    Parameters
    ----------
    path
        YAML file; None for the one that the variable SLOSCHED_CONFIG names, or if there is none,
        for the defaults that ship with slosched.
    overrides
        `policy.solver.cooling=0.9` and the like; they win over `SLOSCHED_...` variables, which
        win over the file.

    Raises
    ------
    ConfigError
        If the file cannot be read, or an override leads nowhere.
    """
    document = load_yaml(*text(path))
    return apply_overrides(document, [*from_environment(), *overrides])


def build(document: Document, overrides: Sequence[Override | str] = ()) -> Settings:
    """Build the objects of a configuration, with some values changed.

    Raises
    ------
    ConfigError
        If it does not fit; a line for each problem.
    """
    return validate(apply_overrides(document, overrides), TypeAdapter(Settings))


def from_environment() -> list[Override]:
    """Read the values that `SLOSCHED_...` variables put over those of the file."""
    names = [info.alias or name for name, info in Settings.model_fields.items()]
    return environment(os.environ, names)


def text(path: Path | None = None) -> tuple[str, str]:
    """Read the file that is in force, see `read`: its text, and what to call it.

    Raises
    ------
    ConfigError
        If it cannot be read.
    """
    path = where(path)
    if path is None:
        shipped = files("slosched.config") / "default.yaml"
        return shipped.read_text(encoding="utf-8"), shipped.name
    return read_text(path), str(path)


def where(path: Path | None = None) -> Path | None:
    """Return the file that is in force, see `read`; None for the defaults that ship."""
    if path is None and os.environ.get("SLOSCHED_CONFIG"):
        return Path(os.environ["SLOSCHED_CONFIG"])
    return path
