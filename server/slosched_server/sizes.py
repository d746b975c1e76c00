"""How large a request is, as far as a front end can tell that has no tokenizer."""

from collections.abc import Mapping
from dataclasses import dataclass

from slosched.core.transcript import CHARACTERS_PER_TOKEN

_BOUNDS = ("max_completion_tokens", "max_tokens", "max_output_tokens")


@dataclass(frozen=True, slots=True)
class Size:
    """What plans go by.

    Parameters
    ----------
    input_tokens
        Of the prompt, at least 1: exact for lists of token ids, else a quarter of the characters.
    max_tokens
        Bound on the answer, if there is one.
    prompt
        What is asked, for predictors that read: of a chat the last message; None for token ids.
    """

    input_tokens: int
    max_tokens: int | None = None
    prompt: str | None = None


def size(fields: Mapping[str, object]) -> Size:
    """Measure the body of a completion, a chat completion or a response; whatever it holds."""
    texts, ids = [], 0
    for value in (fields.get("prompt"), fields.get("messages"), fields.get("input")):
        found, count = _texts(value)
        texts += found
        ids += count
    characters = sum(map(len, texts))
    bounds = (fields.get(name) for name in _BOUNDS)
    most = next((b for b in bounds if isinstance(b, int) and b >= 1), None)
    tokens = max(characters // CHARACTERS_PER_TOKEN + ids, 1)
    return Size(tokens, most, texts[-1] if texts else None)


def _texts(value: object) -> tuple[list[str], int]:
    """Return the texts of a prompt, of messages or of their parts, and how many token ids."""
    if isinstance(value, str):
        return [value], 0
    if isinstance(value, Mapping):
        return _texts(value.get("content", value.get("text")))
    if not isinstance(value, list):
        return [], 0
    if value and isinstance(value[0], int):
        return [], len(value)
    texts, ids = [], 0
    for part in value:
        found, count = _texts(part)
        texts += found
        ids += count
    return texts, ids
