"""What the formats share: lines with numbers, and the checks of what stands in them."""

from collections.abc import Iterator
from math import isfinite
from typing import BinaryIO

# Token counts and priorities are kept in 64-bit arrays and summed: leave room.
LARGEST = 2**31 - 1


class BadLineError(ValueError):
    """What is wrong with the current line; the reader adds file and number."""


class Lines:
    """Lines of text, one at a time; `number` is that of the newest, from 1.

    Blank lines may only come last.

    Raises
    ------
    BadLineError
        If a line is not UTF-8, or blank before one that is not.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        blank = 0
        for number, raw in enumerate(self._stream, 1):
            if not raw.strip():
                blank = blank or number
                continue
            self.number = blank or number
            if blank:
                raise BadLineError("is empty, every line must hold a request")
            try:
                # Spreadsheets begin their files with a byte order mark.
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise BadLineError(f"must be UTF-8, byte {error.start + 1} is not") from None
            yield text.rstrip("\r\n")


class Timeline:
    """Turns a trace's times into seconds since its first; they may not run back.

    Parameters
    ----------
    per_second
        How many of the trace's units make a second.
    ordered
        Whether that is an error; if not, times may be negative.
    """

    def __init__(self, per_second: float = 1.0, *, ordered: bool = True) -> None:
        self._per_second, self._ordered = per_second, ordered
        self._first: float | None = None
        self._last = 0.0

    def seconds(self, time: float) -> float:
        """Return the seconds since the first call; BadLineError if before the last."""
        if self._first is None:
            self._first = time
        # The subtraction comes first: nanoseconds since 1970 are exact as integers only.
        since = (time - self._first) / self._per_second
        if self._ordered and since < self._last:
            raise BadLineError(
                f"goes back in time, {self._last - since:g} s before the line above: "
                "sort the trace by time"
            )
        if not isfinite(since):
            raise BadLineError("is too long after the first line")
        self._last = since
        return since


def whole(name: str, value: object, least: int = 1) -> int:
    """Return the value if it is an integer from `least` to `LARGEST`, else raise BadLineError."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= LARGEST:
        raise BadLineError(
            f"{name} must be a whole number from {least} to {LARGEST}, got {shorten(value)}"
        )
    return value


def finite(name: str, value: object) -> float:
    """Return the value if it is a finite number, else raise BadLineError."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value):
        raise BadLineError(f"{name} must be a number, got {shorten(value)}")
    return value


def shorten(value: object) -> str:
    """Return the value as it reads in an error."""
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
