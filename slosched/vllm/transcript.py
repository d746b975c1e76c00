"""The texts of vLLM's requests, for predictors that read them."""

from collections.abc import Sequence
from copy import deepcopy
from functools import cached_property
from typing import Any

from vllm.config import ModelConfig
from vllm.v1.request import Request

from slosched.core.transcript import Said

_TOKENS = 1024  # from either end of a text; no encoder reads more
_ROLES = {"", "assistant", "model", "user", "human", "system"}


class Decoder:
    """Turns token ids into text with the served model's tokenizer, which is loaded when needed.

    Parameters
    ----------
    config
        Of the served model.
    """

    def __init__(self, config: ModelConfig) -> None:
        self._config = config

    def last_message(self, ids: Sequence[int]) -> str:
        """Return what is asked: of a prompt that a chat template made, the user's last message.

        Templates put special tokens around messages, and end with the role of who is to answer.
        Where there are none it is the whole prompt.
        """
        end = len(ids)
        while end > 0 and self._tokenizer is not None:
            begin = end
            while begin and ids[begin - 1] not in self._special:
                begin -= 1
            message = self.text(ids[begin:end]).strip()
            if message not in _ROLES:
                role, _, asked = message.partition("\n")
                return asked.lstrip() if asked and role in _ROLES else message
            end = begin - 1
        return ""

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of some tokens, of many their beginning and end; "" without tokenizer."""
        if self._tokenizer is None:
            return ""
        if len(ids) > 2 * _TOKENS:
            ids = [*ids[:_TOKENS], *ids[-_TOKENS:]]
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    @cached_property
    def _tokenizer(self) -> Any:  # noqa: ANN401 - vLLM's protocol
        from vllm.tokenizers import cached_tokenizer_from_config

        # A copy: vLLM's own must not be in use when vLLM sets how it truncates.
        return deepcopy(cached_tokenizer_from_config(self._config))

    @cached_property
    def _special(self) -> set[int]:
        added = getattr(self._tokenizer, "added_tokens_decoder", {})
        marks = {token_id for token_id, token in added.items() if token.special}
        return marks | set(self._tokenizer.all_special_ids)


class EngineTranscript:
    """What was said of one request, read from the scheduler's own copy of its tokens.

    Any thread may read: tokens are only ever added to the list, of which a copy is made in one
    step of the interpreter. Under asynchronous scheduling it lags behind what was scheduled, so
    what is read says itself how long it is.

    Parameters
    ----------
    request
        vLLM's.
    decoder
        Of its model.
    """

    def __init__(self, request: Request, decoder: Decoder) -> None:
        self._request, self._decoder = request, decoder
        self._prompt: str | None = None

    def read(self, produced: int) -> Said | None:  # noqa: ARG002 - the list knows better
        """Return what was said; None if the request is over."""
        return None if self._request.is_finished() else self.so_far()

    def so_far(self) -> Said:
        """Return what was said, whether the request is over or not."""
        if self._prompt is None:
            self._prompt = self._decoder.last_message(self._request.prompt_token_ids or [])
        answer = self._request.output_token_ids[:]
        return Said(self._prompt, self._decoder.text(answer) if answer else "", len(answer))
