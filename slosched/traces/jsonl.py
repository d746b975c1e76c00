"""Mooncake's traces, and ours, which add to Mooncake's names: one JSON object per line.

https://github.com/kvcache-ai/Mooncake, the traces of FAST'25: `timestamp` in ms, `input_length`,
`output_length`, `hash_ids`. Ours may add `request_id`, `prompt`, `answer`, `slo_class`, `ttft_ms`,
`tpot_ms`, `e2e_ms`, `priority`, `tenant` and `max_tokens`; null is the same as leaving a name out.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches

import orjson

from slosched.traces.lines import LARGEST, BadLineError, Lines, Timeline, finite, shorten, whole
from slosched.traces.record import TraceRecord

REQUIRED = ("timestamp", "input_length", "output_length")
OPTIONAL = (
    "hash_ids",
    "request_id",
    "prompt",
    "answer",
    "slo_class",
    "ttft_ms",
    "tpot_ms",
    "e2e_ms",
    "priority",
    "tenant",
    "max_tokens",
)


def records(lines: Lines, source: str, *, ordered: bool = True) -> Iterator[TraceRecord]:
    """Read the records; BadLineError at the first line that is wrong."""
    timeline = Timeline(per_second=1e3, ordered=ordered)
    for number, text in enumerate(lines):
        fields = _fields(text)
        request_id = _text(fields, "request_id", least=1)
        priority = fields.get("priority", 0)
        yield TraceRecord(
            request_id=str(number) if request_id is None else request_id,
            time=timeline.seconds(finite("timestamp", fields["timestamp"])),
            input_tokens=whole("input_length", fields["input_length"]),
            output_tokens=whole("output_length", fields["output_length"]),
            source=source,
            prompt=_text(fields, "prompt"),
            answer=_text(fields, "answer"),
            hash_ids=_hash_ids(fields.get("hash_ids", [])),
            slo_class=_text(fields, "slo_class", least=1),
            ttft=_limit(fields, "ttft_ms"),
            tpot=_limit(fields, "tpot_ms"),
            e2e=_limit(fields, "e2e_ms"),
            priority=whole("priority", priority, least=-LARGEST),
            tenant=_text(fields, "tenant") or "",
            max_tokens=_most(fields),
        )


def _fields(text: str) -> dict[str, object]:
    try:
        fields = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadLineError(f"is no JSON: {error}") from None
    if not isinstance(fields, dict):
        raise BadLineError(f"must be a JSON object, got {shorten(fields)}")
    for key in fields:
        if key not in REQUIRED and key not in OPTIONAL:
            raise BadLineError(f"unknown key {shorten(key)}{_hint(key)}")
    for key in REQUIRED:
        if key not in fields:
            raise BadLineError(f"{key} is missing")
    return {key: value for key, value in fields.items() if value is not None or key in REQUIRED}


def _hint(key: str) -> str:
    close = get_close_matches(key, (*REQUIRED, *OPTIONAL), 1)
    return f", did you mean {close[0]}?" if close else f", known: {', '.join(REQUIRED + OPTIONAL)}"


def _text(fields: Mapping[str, object], key: str, least: int = 0) -> str | None:
    value = fields.get(key)
    if value is None or (isinstance(value, str) and len(value) >= least):
        return value
    raise BadLineError(f"{key} must be a {'non-empty ' if least else ''}text, got {shorten(value)}")


def _most(fields: Mapping[str, object]) -> int | None:
    return whole("max_tokens", fields["max_tokens"]) if "max_tokens" in fields else None


def _limit(fields: Mapping[str, object], key: str) -> float | None:
    if key not in fields:
        return None
    value = finite(key, fields[key]) / 1e3
    if value <= 0:
        raise BadLineError(f"{key} must be greater than 0, got {shorten(fields[key])}")
    return value


def _hash_ids(value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(item) is int for item in value):
        raise BadLineError(f"hash_ids must be a list of whole numbers, got {shorten(value)}")
    return tuple(value)
