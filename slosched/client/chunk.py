"""One event of a streamed answer: how many tokens there are by now, and whether it is over."""

from dataclasses import dataclass
from typing import Any

import orjson

DONE = b"[DONE]"


class BrokenStreamError(Exception):
    """A stream that cannot be counted on.

    Parameters
    ----------
    kind
        `malformed`, or the status that the server put into the stream.
    detail
        What is wrong, for people.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one event says.

    Parameters
    ----------
    speaks
        Whether it carries a piece of the answer.
    tokens
        Tokens of the answer so far; None where the server does not count along.
    prompt_tokens
        Of the request; None where it does not say.
    sums_up
        Whether it belongs to no piece, and says what the whole answer came to.
    finish_reason
        Why the answer ends with it; "" if it does not.
    """

    speaks: bool
    tokens: int | None
    prompt_tokens: int | None
    sums_up: bool
    finish_reason: str


def read_chunk(payload: bytes) -> Chunk:
    """Read an event of `/v1/completions` or `/v1/chat/completions`.

    Raises
    ------
    BrokenStreamError
        If it is no such event, or an error that came after the stream had begun.
    """
    try:
        fields: Any = orjson.loads(payload)
        if "error" in fields:
            raise _told(fields["error"])
        choices: list[dict[str, Any]] = fields["choices"]
        usage: dict[str, int] = fields.get("usage") or {}
        return Chunk(
            any(map(_speaks, choices)),
            _whole(usage.get("completion_tokens")),
            _whole(usage.get("prompt_tokens")),
            not choices,
            next((str(c["finish_reason"]) for c in choices if c.get("finish_reason")), ""),
        )
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
        shown = payload[:80].decode(errors="replace")
        raise BrokenStreamError("malformed", f"no event of a streamed answer: {shown}") from error


def _speaks(choice: dict[str, Any]) -> bool:
    delta = choice.get("delta") or {}
    said = ("content", "reasoning_content", "reasoning", "tool_calls")
    return bool(choice.get("text")) or any(delta.get(name) for name in said)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _told(error: object) -> BrokenStreamError:
    fields = error if isinstance(error, dict) else {}
    return BrokenStreamError(
        str(fields.get("code") or "error"), str(fields.get("message") or error)[:200]
    )
