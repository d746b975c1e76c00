"""Azure's LLM inference traces: `TIMESTAMP,ContextTokens,GeneratedTokens`.

https://github.com/Azure/AzurePublicDataset, the traces of 2023 and 2024.
"""

import re
from datetime import UTC, datetime

from slosched.traces.lines import BadLineError, shorten
from slosched.traces.table import TableFormat

_TIMESTAMP = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})?"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def nanoseconds(text: str) -> int:
    """Parse a timestamp into nanoseconds since 1970.

    Azure writes 7 digits after the second: more than a datetime holds, and more than a float
    holds of the time since 1970.

    Raises
    ------
    BadLineError
        If it is none.
    """
    wrong = BadLineError(f"TIMESTAMP must read as 2023-11-16 18:17:03.9799600, got {shorten(text)}")
    match = _TIMESTAMP.fullmatch(text.strip())
    if match is None:
        raise wrong
    try:
        since = datetime.fromisoformat(match[1] + (match[3] or "Z")) - _EPOCH
    except (ValueError, OverflowError):  # the 31st of February, the year 0
        raise wrong from None
    return (since.days * 86_400 + since.seconds) * 10**9 + int((match[2] or "0").ljust(9, "0"))


AZURE = TableFormat(
    name="Azure CSV",
    time="TIMESTAMP",
    input_tokens="ContextTokens",
    output_tokens="GeneratedTokens",
    parse_time=nanoseconds,
    per_second=1e9,
)
