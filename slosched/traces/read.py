"""Reads a trace file of any known format."""

from collections.abc import Generator, Iterator
from contextlib import closing
from io import BufferedReader
from itertools import islice
from pathlib import Path

from slosched.core.errors import TraceError
from slosched.traces import jsonl, sharegpt
from slosched.traces.azure import AZURE
from slosched.traces.burstgpt import BURSTGPT
from slosched.traces.lines import BadLineError, Lines
from slosched.traces.record import TraceRecord
from slosched.traces.table import TableFormat, closest, split

_TABLES = (AZURE, BURSTGPT)
_KNOWN = "known are JSONL as Mooncake's or ours, ShareGPT JSON, " + " and ".join(
    f"{table.name} ({', '.join(table.columns)})" for table in _TABLES
)


def iter_records(path: Path | str, *, ordered: bool = True) -> Generator[TraceRecord, None, None]:
    """Read a trace one record at a time, in order of time; its format shows in its content.

    Memory does not grow with the trace, so request ids that a trace gives twice pass.

    Parameters
    ----------
    ordered
        Whether a line of JSONL from before the one above is an error, as it is to who replays
        the trace.

    Raises
    ------
    TraceError
        At the first line that is wrong; the text starts with file and line.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            yield from _records(stream, path, ordered)
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror}") from None


def read(path: Path | str, limit: int | None = None, *, ordered: bool = True) -> list[TraceRecord]:
    """Read a trace, or its first `limit` records; as `iter_records`.

    Raises
    ------
    TraceError
        At the first line that is wrong, or whose request id came before.
    """
    with closing(iter_records(path, ordered=ordered)) as stream:
        found = list(islice(stream, limit))
    seen: set[str] = set()
    # Only JSONL has ids of its own, and there every line is a record.
    for line, record in enumerate(found, 1):
        if record.request_id in seen:
            raise TraceError(f"{path}:{line}: request_id {record.request_id!r} came before")
        seen.add(record.request_id)
    return found


def _records(stream: BufferedReader, path: Path, ordered: bool) -> Iterator[TraceRecord]:
    lines, items = Lines(stream), sharegpt.Items(stream)
    try:
        head = stream.peek().removeprefix(sharegpt.BYTE_ORDER_MARK).lstrip()
        if head.startswith(b"["):
            yield from sharegpt.records(items, path.stem)
        elif head.startswith(b"{"):
            yield from jsonl.records(lines, path.stem, ordered=ordered)
        else:
            yield from _table(head).records(lines, path.stem)
    except BadLineError as error:
        # Of the two readers, one stands still at line 1.
        raise TraceError(f"{path}:{max(lines.number, items.number)}: {error}") from None


def _table(head: bytes) -> TableFormat:
    if not head:
        raise BadLineError(f"is empty, no format to tell: {_KNOWN}")
    header = head.decode(errors="replace").splitlines()[0]
    table = closest(split(header), _TABLES)
    if table is None:
        raise BadLineError(f"unknown format: {_KNOWN}")
    return table
