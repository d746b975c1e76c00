"""How the engine's processes learn their configuration: two environment variables."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from slosched.core.errors import ConfigError

if TYPE_CHECKING:
    from slosched.config.schema import Settings

CONFIG = "SLOSCHED_CONFIG"
OVERRIDES = "SLOSCHED_SET"


def settings(environ: Mapping[str, str] = os.environ) -> "Settings":
    """Load the YAML that `SLOSCHED_CONFIG` names, under the overrides in `SLOSCHED_SET`.

    Without either, slosched's defaults hold.

    Raises
    ------
    ConfigError
        If the configuration is wrong, or `SLOSCHED_SET` is no JSON list of strings.
    """
    path, overrides = environ.get(CONFIG), _overrides(environ.get(OVERRIDES, "[]"))
    from slosched.config.load import load

    return load(Path(path) if path else None, overrides)


def _overrides(text: str) -> list[str]:
    try:
        overrides = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{OVERRIDES}: must be a JSON list of strings: {error}") from error
    if not isinstance(overrides, list) or not all(isinstance(item, str) for item in overrides):
        raise ConfigError(f"{OVERRIDES}: must be a JSON list of strings, got {text[:80]!r}")
    return overrides
