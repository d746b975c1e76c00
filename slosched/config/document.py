"""Configuration as plain data, with the place of every piece of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NamedTuple

Path = tuple[str | int, ...]


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


def dotted(path: Iterable[str | int]) -> str:
    """Write a path as users do."""
    return ".".join(map(str, path))


def hint(name: str, known: list[str]) -> str:
    """Say what was probably meant, or what there is."""
    close = get_close_matches(name, known, 1)
    if close:
        return f", did you mean {close[0]}?"
    return f", known: {', '.join(known)}" if known else ""


def show(value: object) -> str:
    """Write a value for an error, short."""
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    words = {None: "nothing", True: "true", False: "false"}
    text = words[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
