"""YAML that remembers where everything stood, so that every error can say line and column.

Text becomes a `Document` (`load_yaml`), overrides change it (`apply_overrides`), and `validate`
turns it into objects. Scalars are those of YAML 1.2: `no`, `on` and `2024-01-01` are texts, `1e3`
is a number.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from difflib import get_close_matches
from math import inf, nan
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import ErrorDetails
from yaml.error import Mark
from yaml.reader import ReaderError

from slosched.core.errors import ConfigError

T = TypeVar("T")
Path = tuple[str | int, ...]
Problem = tuple["Place", str, str]  # where it stands, the field's name, what is wrong

ENVIRONMENT_PREFIX = "SLOSCHED_"
RESERVED_VARIABLES = frozenset({"SLOSCHED_CONFIG", "SLOSCHED_SET"})
_DISCRIMINATOR = "kind"


class Place(NamedTuple):
    """Where a piece of configuration came from; line 0 where it is not from a file."""

    name: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.name}:{self.line}:{self.column}" if self.line else self.name


class Entry(NamedTuple):
    """Where a value stands, and the key or list item that it belongs to."""

    key: Place
    value: Place


@dataclass(frozen=True, slots=True)
class Document:
    """Plain data, and the place of every piece of it by its path from the root."""

    value: dict[str, Any]
    places: Mapping[Path, Entry]


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


# --- Text to document ---------------------------------------------------------------------------


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

    value = _load(text, at, (), places)
    if value is None:
        value, places = {}, {(): Entry(at(None), at(None))}
    if not isinstance(value, dict):
        raise ConfigError(f"{places[()].value}: must be a mapping of fields, got {_show(value)}")
    return Document(value, places)


def _load(
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
            raise ConfigError(f"{at(node.start_mark)}: is no {kind}: {_show(node.value)}") from None
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
            where, first = _dotted((*path, key.value)), places[*path, key.value].key
            raise ConfigError(f"{place}: {where}: duplicate key, first at {first}")
        result[key.value] = _construct(value, at, (*path, key.value), places, place)
    return result


# --- Overrides ----------------------------------------------------------------------------------


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
            raise ConfigError(f"{variable}: unknown field {path[0]!r}{_hint(path[0], known)}")
        overrides.append(Override(path, environ[variable], variable))
    return overrides


def apply_overrides(document: Document, overrides: Iterable[Override | str]) -> Document:
    """Put values over those of a document, in turn; the document itself stays as it is.

    Parameters
    ----------
    overrides
        Texts as `--set` takes them, `policy.solver.cooling=0.9`, or an `environment`'s.

    Raises
    ------
    ConfigError
        If one is malformed, or leads into something that is neither mapping nor list.
    """
    value, places = deepcopy(document.value), dict(document.places)
    for override in overrides:
        _apply(_from_option(override) if isinstance(override, str) else override, value, places)
    return Document(value, places)


def _from_option(option: str) -> Override:
    dotted, equals, text = option.partition("=")
    if not equals:
        raise ConfigError(f"--set {option}: must be PATH=VALUE, as in policy.kind=fcfs")
    return Override(tuple(dotted.strip().split(".")), text, f"--set {dotted.strip()}")


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
    parent[key] = _load(override.text, lambda _: place, path, places)


def _key(parent: object, name: str, path: Path, place: Place) -> Any:  # noqa: ANN401
    """Look up what `name` is called in `parent`: itself in a mapping, its number in a list."""
    if isinstance(parent, dict):
        return name
    if not isinstance(parent, list):
        raise ConfigError(f"{place}: {_dotted(path)} is {_show(parent)}, not a mapping")
    if not (name.isdecimal() and int(name) < len(parent)):
        raise ConfigError(f"{place}: {_dotted(path)} is a list of {len(parent)}, no item {name!r}")
    return int(name)


# --- Document to objects ------------------------------------------------------------------------


class _LenientSchema(GenerateJsonSchema):
    """A JSON schema to look names up in: a field that JSON cannot express has no inner names."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> dict[str, Any]:  # noqa: ANN401, ARG002
        return {}


def validate(document: Document, adapter: TypeAdapter[T]) -> T:
    """Turn a document into objects.

    Parameters
    ----------
    adapter
        Of the target type; its mappings forbid extra fields, its unions are told apart by `kind`.

    Raises
    ------
    ConfigError
        If it does not fit; the text has one line for each problem, in the order of the file.
    """
    try:
        return adapter.validate_python(document.value)
    except ValidationError as error:
        schema = adapter.json_schema(schema_generator=_LenientSchema)
        problems = {_problem(details, document, schema) for details in error.errors()}
    # What comes from no file has line 0 and goes last.
    lines = sorted(problems, key=lambda p: (not p[0].line, p))
    raise ConfigError("\n".join(map(_line, lines)))


def _line(problem: Problem) -> str:
    place, where, text = problem
    # `--set a.b` says the path already.
    shown = not where or str(place).endswith(f" {where}")
    return f"{place}: {text}" if shown else f"{place}: {where}: {text}"


def _problem(details: ErrorDetails, document: Document, schema: dict[str, Any]) -> Problem:
    """Say what is wrong, under which name, and where, in the words of the configuration."""
    loc, context = details["loc"], details.get("ctx", {})
    path, value = _locate(loc, document.value)
    key_place, place = document.places[path]
    match details["type"]:
        case "extra_forbidden" | "unexpected_keyword_argument":
            members = _members_at(schema, document.value, path[:-1])
            names = sorted({name for member in members for name in _fields(member)})
            place, text = key_place, "unknown field" + _hint(str(path[-1]), names)
        case "missing":
            path, text = (*path, loc[-1]), "missing"
        case "union_tag_not_found":
            members = _members_at(schema, document.value, path)
            kinds = [_fields(member).get(_DISCRIMINATOR, {}).get("const") for member in members]
            path, text = (
                (*path, _DISCRIMINATOR),
                f"missing (known: {', '.join(filter(None, kinds))})",
            )
        case "union_tag_invalid":
            path = (*path, _DISCRIMINATOR)
            place = document.places[path].value
            text = _unknown(details["input"][_DISCRIMINATOR], context["expected_tags"])
        case "literal_error" | "enum":
            text = _unknown(value, context["expected"])
        case "value_error" | "assertion_error":
            path, text = _own_words(str(context["error"]), path, value)
            place = document.places[path].value
        case _:
            place = key_place if loc[-1:] == ("[key]",) else place
            text = f"{_plain(details['msg'])}, got {_show(details['input'])}"
    return place, _dotted(path), text


def _locate(loc: Path, value: object) -> tuple[Path, object]:
    """Find the part of the document that pydantic's location names, and its value.

    The location also holds the tag of each union that it passes, and names of validators: what
    is not in the document is no part of the path.
    """
    path: Path = ()
    in_union = False
    for part in loc:
        if isinstance(value, dict) and not in_union and part == value.get(_DISCRIMINATOR):
            in_union = True
        elif part in _keys(value):
            path, value = (*path, part), _item(value, part)
            in_union = False
    return path, value


def _keys(value: object) -> Iterable[str | int]:
    if isinstance(value, list):
        return range(len(value))
    return value if isinstance(value, dict) else ()


def _item(value: Any, key: str | int) -> object:  # noqa: ANN401
    item: object = value[key]
    return item


def _own_words(text: str, path: Path, value: object) -> tuple[Path, str]:
    """Report what a class said about itself, at the field that the text starts with."""
    named = re.match(r"([\w.]+)(?:: | )(.*)", text, re.DOTALL)
    names = named[1].split(".") if named else []
    parts = tuple(int(name) if name.isdecimal() else name for name in names)
    if named and _locate(parts, value)[0] == parts:
        return (*path, *parts), named[2]
    return path, text


def _members_at(schema: dict[str, Any], value: object, path: Path) -> list[dict[str, Any]]:
    """Look up the JSON schemas that a place in the document may follow; few, mostly one."""
    members = list(_members(schema, value, schema))
    for part in path:
        value = _item(value, part)
        inner = [_inner(member, part) for member in members]
        members = [m for s in inner if isinstance(s, dict) for m in _members(s, value, schema)]
    return members


def _inner(schema: dict[str, Any], part: str | int) -> object:
    if isinstance(part, int):
        return schema.get("items")
    # A mapping of named things: all are alike, under whatever names are allowed.
    others = [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties")]
    return _fields(schema).get(part, others[0])


def _members(
    schema: dict[str, Any], value: object, root: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Follow references, and each union to the member that the value's `kind` names, or to all."""
    if "$ref" in schema:
        yield from _members(root["$defs"][schema["$ref"].rpartition("/")[2]], value, root)
        return
    kinds = schema.get("discriminator", {}).get("mapping", {})
    kind = value.get(_DISCRIMINATOR) if isinstance(value, dict) else None
    if isinstance(kind, str) and kind in kinds:
        yield from _members({"$ref": kinds[kind]}, value, root)
        return
    union = [s for name in ("anyOf", "oneOf", "allOf") for s in schema.get(name, ())]
    if not union:
        yield schema
    for member in union:
        yield from _members(member, value, root)


def _fields(schema: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = schema.get("properties", {})
    return fields


# --- Words --------------------------------------------------------------------------------------


def _dotted(path: Iterable[str | int]) -> str:
    return ".".join(map(str, path))


def _hint(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, 1)
    if close:
        return f", did you mean {close[0]}?"
    return f", known: {', '.join(known)}" if known else ""


def _unknown(value: object, expected: str) -> str:
    """Say that a value is none of those that pydantic lists, such as `'fcfs' or 'edf'`."""
    known = re.findall(r"'([^']*)'", expected)
    close = get_close_matches(value, known, 1) if isinstance(value, str) else []
    hint = f", did you mean {close[0]}?" if close else ""
    return f"unknown {_show(value)}{hint} (known: {', '.join(known) or expected})"


def _plain(message: str) -> str:
    """Put pydantic's message in the words of a configuration file."""
    if "dictionary" in message:
        return "must be a mapping"
    message = re.sub(r", (unable to|got) .*", "", message)
    return (
        re.sub(r"^\w+ should ", "must ", message)
        .replace("a valid i", "an i")
        .replace("a valid ", "a ")
    )


def _show(value: object) -> str:
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    words = {None: "nothing", True: "true", False: "false"}
    text = words[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
