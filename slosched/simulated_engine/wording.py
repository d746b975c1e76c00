"""Answers as vLLM's OpenAI server words them, whose text means nothing."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import orjson

_WORDS = (
    "the", "answer", "of", "a", "simulated", "engine", "is", "as", "long", "as", "it", "was",
    "asked", "to", "be,", "and", "says", "nothing",
)  # fmt: skip
DONE = b"data: [DONE]\n\n"


def word(token: int) -> str:
    """Return the text of an answer's token, by its place in it."""
    return f" {_WORDS[token % len(_WORDS)]}"


@dataclass(frozen=True, slots=True)
class Wording:
    """Words one answer.

    Parameters
    ----------
    chat
        Whether it is one of `/v1/chat/completions`.
    model
        Name of the model, as it was asked for.
    """

    chat: bool
    model: str
    identity: str = field(default_factory=lambda: uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    def first(self, choices: int) -> bytes:
        """Say who speaks, before anybody does."""
        if not self.chat:
            return b""
        delta = {"role": "assistant", "content": ""}
        said = [{"index": i, "delta": delta, "finish_reason": None} for i in range(choices)]
        return self._event(said)

    def token(
        self, choice: int, token: int, reason: str | None, usage: Mapping[str, int] | None
    ) -> bytes:
        """Say one token.

        Parameters
        ----------
        token
            Its place in the answer, from 0.
        reason
            Why the answer ends with it, if it does.
        """
        said: dict[str, Any] = {"index": choice}
        if self.chat:
            said["delta"] = {"content": word(token)}
        else:
            said["text"] = word(token)
        return self._event([{**said, "logprobs": None, "finish_reason": reason}], usage)

    def last(self, usage: Mapping[str, int]) -> bytes:
        """Say how many tokens there were in all."""
        return self._event([], usage)

    def whole(self, lengths: Sequence[tuple[int, str]], usage: Mapping[str, int]) -> bytes:
        """Say all at once; of each choice there are its tokens, and why it ended."""
        choices = []
        for choice, (tokens, reason) in enumerate(lengths):
            text = "".join(map(word, range(tokens)))
            said = {"message": {"role": "assistant", "content": text}} if self.chat else {}
            plain = {} if self.chat else {"text": text}
            choices.append(
                {"index": choice, **said, **plain, "logprobs": None, "finish_reason": reason}
            )
        kind = "chat.completion" if self.chat else "text_completion"
        return orjson.dumps({**self._head(kind), "choices": choices, "usage": usage})

    def _event(
        self, choices: Sequence[Mapping[str, Any]], usage: Mapping[str, int] | None = None
    ) -> bytes:
        head = self._head("chat.completion.chunk" if self.chat else "text_completion")
        counted = {} if usage is None else {"usage": usage}
        return b"data: " + orjson.dumps({**head, "choices": choices, **counted}) + b"\n\n"

    def _head(self, kind: str) -> dict[str, Any]:
        prefix = "chatcmpl" if self.chat else "cmpl"
        identity = f"{prefix}-{self.identity}"
        return {"id": identity, "object": kind, "created": self.created, "model": self.model}


def usage(prompt: int, answer: int) -> dict[str, int]:
    """Count tokens as OpenAI does."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": prompt + answer,
    }
