"""YAML that remembers where everything stood, so that every error can say line and column.

Scalars are those of YAML 1.2: `no`, `on` and `2024-01-01` are texts, `1e3` is a number.
"""

import re
from collections.abc import Callable, Mapping
from math import inf, nan
from pathlib import Path as FilePath
from types import MappingProxyType
from typing import Any

import yaml
from yaml.error import Mark
from yaml.reader import ReaderError

from slosched.config.document import Document, Entry, Path, Place, dotted, show
from slosched.core.errors import ConfigError

_TAG = "tag:yaml.org,2002:"
_PLAIN = tuple(
    (_TAG + kind, re.compile(pattern))
    for kind, pattern in (
        ("null", r"~|null|Null|NULL|"),
        ("bool", r"true|True|TRUE|false|False|FALSE"),
        ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"),
        ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"),
        ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
    )
)


class _Loader(yaml.SafeLoader):
    """Composes nodes with the scalar types of YAML 1.2's core schema, and no aliases."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:  # noqa: ANN401
        if kind is yaml.ScalarNode and implicit[0]:
            return next((tag for tag, p in _PLAIN if p.fullmatch(value)), _TAG + "str")
        tag: str = super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]
        return tag

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        # An alias has two places and may hold itself: every value is written where it is used.
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(
                problem="aliases are not supported, write the value again", problem_mark=mark
            )
        return super().compose_node(parent, index)


def _integer(text: str) -> int:
    return int(text, 0) if text[:2] in ("0x", "0o") else int(text)


def _real(text: str) -> float:
    special = {".inf": inf, "+.inf": inf, "-.inf": -inf, ".nan": nan}.get(text.lower())
    return float(text) if special is None else special


_SCALARS: Mapping[str, Callable[[str], object]] = MappingProxyType(
    {
        _TAG + "null": lambda _: None,
        _TAG + "bool": lambda text: {"true": True, "false": False}[text.lower()],
        _TAG + "int": _integer,
        _TAG + "float": _real,
        _TAG + "str": str,
    }
)


def read_text(file: FilePath) -> str:
    """Read a file of UTF-8; ConfigError if it cannot be read."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: is no UTF-8 text") from None


def load_yaml(text: str, name: str) -> Document:
    """Read a configuration file's text; nothing but comments is an empty mapping.

    Parameters
    ----------
    text
        YAML of mappings, lists and plain scalars.
    name
        What to call the file in errors.

    Raises
    ------
    ConfigError
        If it is no YAML, its root is no mapping, a key comes twice, or a tag or alias is used.
    """
    places: dict[Path, Entry] = {}

    def at(mark: Mark | None) -> Place:
        return Place(name, mark.line + 1, mark.column + 1) if mark else Place(name, 1, 1)

    value = load_at(text, at, (), places)
    if value is None:
        value, places = {}, {(): Entry(at(None), at(None))}
    if not isinstance(value, dict):
        raise ConfigError(f"{places[()].value}: must be a mapping of fields, got {show(value)}")
    return Document(value, places)


def load_at(
    text: str, at: Callable[[Mark | None], Place], path: Path, places: dict[Path, Entry]
) -> object:
    """Read `text` as the value at `path`, and note the places of all that is in it."""
    try:
        root = yaml.compose(text, _Loader)
        if root is None:
            places[path] = Entry(at(None), at(None))
            return None
        return _construct(root, at, path, places, at(root.start_mark))
    except yaml.MarkedYAMLError as error:
        problem = error.problem or error.context or "is no YAML"
        if problem.startswith("but ") and error.context:
            problem = f"{error.context}, {problem}"
        if "'\\t'" in problem:
            problem = "a tab cannot stand here, indent with spaces"
        raise ConfigError(f"{at(error.problem_mark or error.context_mark)}: {problem}") from None
    except ReaderError as error:
        before = text[: error.position]
        mark = Mark("", 0, before.count("\n"), len(before) - before.rfind("\n") - 1, None, 0)
        raise ConfigError(f"{at(mark)}: a control character cannot stand here") from None
    except RecursionError:
        raise ConfigError(f"{at(None)}: nested too deeply") from None


def _construct(
    node: yaml.Node,
    at: Callable[[Mark | None], Place],
    path: Path,
    places: dict[Path, Entry],
    key_place: Place,
) -> object:
    places[path] = Entry(key_place, at(node.start_mark))
    if isinstance(node, yaml.ScalarNode) and node.tag in _SCALARS:
        try:
            return _SCALARS[node.tag](node.value)
        except (KeyError, ValueError):
            kind = node.tag.removeprefix(_TAG)
            raise ConfigError(f"{at(node.start_mark)}: is no {kind}: {show(node.value)}") from None
    if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
        return [
            _construct(item, at, (*path, i), places, at(item.start_mark))
            for i, item in enumerate(node.value)
        ]
    if not isinstance(node, yaml.MappingNode) or node.tag != _TAG + "map":
        raise ConfigError(f"{at(node.start_mark)}: the tag {node.tag} is not supported")
    result: dict[str, object] = {}
    for key, value in node.value:
        place = at(key.start_mark)
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError(f"{place}: a key must be a text")
        if key.value in result:
            where, first = dotted((*path, key.value)), places[*path, key.value].key
            raise ConfigError(f"{place}: {where}: duplicate key, first at {first}")
        result[key.value] = _construct(value, at, (*path, key.value), places, place)
    return result
