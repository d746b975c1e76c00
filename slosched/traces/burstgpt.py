"""BurstGPT's traces: `Timestamp` in seconds, `Request tokens`, `Response tokens`.

https://github.com/HPMLL/BurstGPT. Requests that failed have no response tokens: take the files
without fails.
"""

from slosched.traces.lines import BadLineError, finite, shorten
from slosched.traces.table import TableFormat


def seconds(text: str) -> float:
    """Parse a time in seconds; BadLineError if it is none."""
    try:
        value = float(text)
    except ValueError:
        raise BadLineError(f"Timestamp must be a number of seconds, got {shorten(text)}") from None
    return finite("Timestamp", value)


BURSTGPT = TableFormat(
    name="BurstGPT CSV",
    time="Timestamp",
    input_tokens="Request tokens",
    output_tokens="Response tokens",
    parse_time=seconds,
)
