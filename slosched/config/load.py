"""Configuration from a file, `--set` options and the environment, in that order of precedence."""

import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from pydantic import TypeAdapter

from slosched.config.overrides import apply_overrides, environment
from slosched.config.schema import Settings
from slosched.config.validate import validate
from slosched.config.yaml import load_yaml
from slosched.core.errors import ConfigError


def load(path: Path | None = None, overrides: Sequence[str] = ()) -> Settings:
    """Read the configuration.

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
        If the file cannot be read or does not fit; a line for each problem.
    """
    if path is None and os.environ.get("SLOSCHED_CONFIG"):
        path = Path(os.environ["SLOSCHED_CONFIG"])
    if path is None:
        text = (files("slosched.config") / "default.yaml").read_text(encoding="utf-8")
        document = load_yaml(text, "default.yaml")
    else:
        try:
            document = load_yaml(path.read_text(encoding="utf-8"), str(path))
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigError(f"{path}: is no UTF-8 text") from None
    names = [info.alias or name for name, info in Settings.model_fields.items()]
    document = apply_overrides(document, environment(os.environ, names))
    return validate(apply_overrides(document, overrides), TypeAdapter(Settings))
