"""From a document to objects: every problem at its place, in the words of the configuration."""

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import ErrorDetails

from slosched.config.document import Document, Path, Place, dotted, hint, show
from slosched.core.errors import ConfigError

T = TypeVar("T")
Problem = tuple[Place, str, str]  # where it stands, the field's name, what is wrong
_DISCRIMINATOR = "kind"


class LenientSchema(GenerateJsonSchema):
    """A JSON schema to look names up in: a field that JSON cannot express has no inner names."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> dict[str, Any]:  # noqa: ANN401, ARG002
        """Let a field that JSON cannot express have no inner names."""
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
        schema = adapter.json_schema(schema_generator=LenientSchema)
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
            place, text = key_place, "unknown field" + hint(str(path[-1]), names)
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
            text = f"{_plain(details['msg'])}, got {show(details['input'])}"
    return place, dotted(path), text


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


def _unknown(value: object, expected: str) -> str:
    """Say that a value is none of those that pydantic lists, such as `'fcfs' or 'edf'`."""
    known = re.findall(r"'([^']*)'", expected)
    close = get_close_matches(value, known, 1) if isinstance(value, str) else []
    hint = f", did you mean {close[0]}?" if close else ""
    return f"unknown {show(value)}{hint} (known: {', '.join(known) or expected})"


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
