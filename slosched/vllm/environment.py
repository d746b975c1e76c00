"""How the engine's processes learn their configuration: three environment variables."""

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
EDITS = "SLOSCHED_EDITS"


def settings(environ: Mapping[str, str] = os.environ) -> "Settings":
    """Load the YAML that `SLOSCHED_CONFIG` names, under the overrides in `SLOSCHED_SET`.

    What was changed while the front end serves is in the file that `SLOSCHED_EDITS` names, and
    wins over both. Without any of them, slosched's defaults hold.

    Raises
    ------
    ConfigError
        If the configuration is wrong, or overrides or edits are no JSON list of strings.
    """
    path, overrides = environ.get(CONFIG), _overrides(OVERRIDES, environ.get(OVERRIDES, "[]"))
    from slosched.config.load import load

    return load(Path(path) if path else None, [*overrides, *_edits(environ.get(EDITS))])


def files(environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Return the files that `settings` reads, which may be edited, or not be there yet."""
    return [Path(environ[name]) for name in (CONFIG, EDITS) if environ.get(name)]


def _edits(path: str | None) -> list[str]:
    if not path or not Path(path).exists():
        return []
    return _overrides(path, Path(path).read_text(encoding="utf-8"))


def _overrides(source: str, text: str) -> list[str]:
    try:
        overrides = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{source}: must be a JSON list of strings: {error}") from error
    if not isinstance(overrides, list) or not all(isinstance(item, str) for item in overrides):
        raise ConfigError(f"{source}: must be a JSON list of strings, got {text[:80]!r}")
    return overrides
