"""Traces in CSV: a header, then one request per line."""

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from slosched.traces.lines import BadLineError, Lines, Timeline, shorten, whole
from slosched.traces.record import TraceRecord

_DIGITS = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class TableFormat:
    """Which columns of a CSV trace hold what; other columns are not looked at.

    Parameters
    ----------
    name
        What to call the format in errors.
    parse_time
        Turns the time column's text into `per_second`-ths of a second.
    """

    name: str
    time: str
    input_tokens: str
    output_tokens: str
    parse_time: Callable[[str], float]
    per_second: float = 1.0

    @property
    def columns(self) -> tuple[str, str, str]:
        """Names of the columns that must be there."""
        return self.time, self.input_tokens, self.output_tokens

    def records(self, lines: Lines, source: str) -> Iterator[TraceRecord]:
        """Read the records; BadLineError at the first line that is wrong."""
        rows = iter(lines)
        header = [name.strip() for name in split(next(rows, ""))]
        missing = [name for name in self.columns if name not in header]
        if missing:
            raise BadLineError(f"{self.name} needs the column {missing[0]!r}")
        time, inputs, outputs = (header.index(name) for name in self.columns)
        timeline = Timeline(self.per_second)
        number = -1
        for number, text in enumerate(rows):
            row = split(text)
            if len(row) != len(header):
                raise BadLineError(f"must have {len(header)} columns as the header, has {len(row)}")
            yield TraceRecord(
                request_id=str(number),
                time=timeline.seconds(self.parse_time(row[time])),
                input_tokens=_tokens(self.input_tokens, row[inputs]),
                output_tokens=_tokens(self.output_tokens, row[outputs]),
                source=source,
            )
        if number < 0:
            raise BadLineError("holds a header but no request")


def split(line: str) -> list[str]:
    """Split one line of CSV.

    Each line stands by itself, so that a stray quote cannot swallow those after it.
    """
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error as error:
        raise BadLineError(f"is no CSV: {error}") from None


def closest(header: Iterable[str], formats: Iterable[TableFormat]) -> TableFormat | None:
    """Return the format with the most of its columns in the header; None if none has any."""
    names = {name.strip() for name in header}
    best = max(formats, key=lambda f: len(names.intersection(f.columns)))
    return best if names.intersection(best.columns) else None


def _tokens(column: str, text: str) -> int:
    if not _DIGITS.fullmatch(text.strip()):
        raise BadLineError(f"{column} must be a whole number, got {shorten(text)}")
    return whole(column, int(text))
