"""A configuration with tuned values, else as its author wrote it: comments and order stay."""

import re
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from slosched.config.document import Place
from slosched.config.load import build, from_environment, read, text
from slosched.config.overrides import from_option
from slosched.config.yaml import load_at, load_yaml
from slosched.core.errors import ConfigError
from slosched.whatif.space import Scalar
from slosched.whatif.tuning import changes

_INDENTED_LIST = re.compile(r"^( *)[^\s#][^\n]*:\n\1 +- ", re.MULTILINE)


def tuned_text(
    config: Path | None,
    overrides: Sequence[str],
    values: Mapping[str, Scalar],
    comments: Iterable[str],
) -> str:
    """Write the configuration that is in force, with some values, and comments at its head.

    Parameters
    ----------
    config, overrides
        As the configuration was read; what options and the environment say is written, too.
    values
        By path.

    Raises
    ------
    ConfigError
        If ruamel.yaml is not installed, or what comes out would be another configuration.
    """
    source, name = text(config)
    round_trip = _round_trip(source)
    tree: Any = round_trip.load(source)
    for override in (*from_environment(), *map(from_option, overrides)):
        place = Place(override.origin)
        _put(tree, override.path, load_at(override.text, lambda _, at=place: at, (), {}))  # type: ignore[misc]
    for path, value in values.items():
        _put(tree, path.split("."), value)
    body = StringIO()
    round_trip.dump(tree, body)
    head = "".join(f"# {line}".rstrip() + "\n" for line in comments)
    written = f"{head}\n{body.getvalue()}"
    if build(load_yaml(written, name)) != build(read(config, overrides), changes(values)):
        raise ConfigError(f"{name}: cannot be written with other values, use --format json")
    return written


def _put(tree: Any, path: Sequence[str], value: object) -> None:  # noqa: ANN401 - YAML of any shape
    *parents, last = path
    for name in parents:
        key = int(name) if isinstance(tree, list) else name
        if not isinstance(tree, list) and tree.get(key) is None:
            tree[key] = {}
        tree = tree[key]
    tree[int(last) if isinstance(tree, list) else last] = value


def _round_trip(source: str) -> Any:  # noqa: ANN401 - ruamel's
    """Return a reader and writer that keeps comments, and how lists are indented."""
    try:
        from ruamel.yaml import YAML
    except ImportError as error:
        raise ConfigError("tune writes with ruamel.yaml: pip install 'slosched[tune]'") from error
    round_trip = YAML()
    round_trip.preserve_quotes = True
    round_trip.width = 4096  # lines stay as long as they are
    if _INDENTED_LIST.search(source):
        round_trip.indent(mapping=2, sequence=4, offset=2)
    return round_trip
