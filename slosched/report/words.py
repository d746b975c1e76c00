"""Numbers and names as people read them."""

import unicodedata
from math import isfinite

NOTHING = "-"
SHORT = 26  # characters of a name that fit beside a picture


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share from 0 to 1 in percent."""
    return NOTHING if share is None else f"{100 * share:.{digits}f}%"


def seconds(ms: float | None) -> str:
    """Return milliseconds as seconds, to the hundredth."""
    return NOTHING if ms is None or not isfinite(ms) else f"{ms / 1e3:.2f}"


def duration(s: float) -> str:
    """Return seconds with the unit that suits them."""
    return f"{s * 1e3:.4g} ms" if s < 1 else f"{s:.4g} s"


def count(n: int, one: str, more: str | None = None) -> str:
    """Return "1 run" or "2,345 runs"."""
    return f"{n:,} {one if n == 1 else more or one + 's'}"


def listing(items: list[str]) -> str:
    """Return "a, b and c"."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def printable(name: str) -> str:
    """Return a name with a mark in place of every character that pictures and lines cannot hold."""
    return "".join("\N{REPLACEMENT CHARACTER}" if _unprintable(c) else c for c in name)


def short(name: str, most: int = SHORT) -> str:
    """Return a printable name of at most `most` characters; what is left out is in its middle."""
    name = printable(name)
    if len(name) <= most:
        return name
    head = (most - 1) // 2
    return f"{name[:head]}…{name[head + 1 - most :]}"


def _unprintable(character: str) -> bool:
    # Control, surrogate, private and unassigned characters, line ends, overrides of direction.
    return unicodedata.category(character)[0] == "C" or character in "\u2028\u2029"
