"""What a client asks for, as far as a simulated engine can do anything about it."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Annotated, Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from slosched.core.transcript import CHARACTERS_PER_TOKEN
from slosched_server.errors import ApiError, bad_request

Count = Annotated[int, Field(ge=1)]
Prompt = str | Annotated[list[int], Field(min_length=1)]
# Of a chat template, about: who speaks, and where a message ends.
_TOKENS_AROUND_A_MESSAGE = 5


class StreamOptions(BaseModel):
    """When a stream is to say how many tokens there are."""

    include_usage: bool = False
    continuous_usage_stats: bool = False


class Message(BaseModel):
    """One message of a chat."""

    role: str
    content: str | list[dict[str, Any]] | None = None

    @property
    def text(self) -> str:
        """What is said, without pictures and the like."""
        if isinstance(self.content, list):
            return "\n".join(str(part.get("text", "")) for part in self.content)
        return self.content or ""


class _Asked(BaseModel):
    model_config = ConfigDict(extra="ignore")

    model: str | None = None
    max_tokens: Count | None = None
    n: Annotated[int, Field(ge=1, le=128)] = 1
    stream: bool = False
    stream_options: StreamOptions = Field(default_factory=StreamOptions)
    ignore_eos: bool = False
    priority: int = 0
    cache_salt: str = ""
    vllm_xargs: dict[str, Any] | None = None


class Completion(_Asked):
    """A body of `/v1/completions`."""

    prompt: Prompt | Annotated[list[Prompt], Field(min_length=1)]

    def prompts(self) -> Sequence[Prompt]:
        """Return each of the prompts that are asked to be gone on with."""
        one = self.prompt
        if isinstance(one, str) or isinstance(one[0], int):
            return [one]
        return one


class Chat(_Asked):
    """A body of `/v1/chat/completions`."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Count | None = None

    def prompts(self) -> Sequence[Prompt]:
        """Return the one prompt that a chat template would make of it, about."""
        around = " " * CHARACTERS_PER_TOKEN * _TOKENS_AROUND_A_MESSAGE
        return ["".join(f"{message.role}{around}{message.text}" for message in self.messages)]


_Form = TypeVar("_Form", Completion, Chat)
_COMPLETION, _CHAT = TypeAdapter(Completion), TypeAdapter(Chat)


def read_chat(body: bytes) -> Chat:
    """Read a body of `/v1/chat/completions`; ApiError if it is none."""
    asked = _read(_CHAT, body)
    return asked.model_copy(update={"max_tokens": asked.max_completion_tokens or asked.max_tokens})


def read_completion(body: bytes) -> Completion:
    """Read a body of `/v1/completions`; ApiError if it is none."""
    return _read(_COMPLETION, body)


def _read(form: TypeAdapter[_Form], body: bytes) -> _Form:
    try:
        return form.validate_python(orjson.loads(body))
    except orjson.JSONDecodeError as error:
        raise bad_request(f"the body is not valid JSON: {error}") from None
    except ValidationError as error:
        raise refusal(error) from None


def refusal(error: ValidationError) -> ApiError:
    """Say what is wrong first with a body, and where."""
    first = error.errors(include_url=False, include_input=False)[0]
    name = ".".join(str(step) for step in first["loc"]) or "body"
    return bad_request(f"{name}: {first['msg']}", name)


def token_count(prompt: Prompt) -> int:
    """How long a prompt is: of a text, a quarter of its characters."""
    if isinstance(prompt, str):
        return max(len(prompt) // CHARACTERS_PER_TOKEN, 1)
    return len(prompt)


def pages(prompt: Prompt, salt: str, block_size: int) -> tuple[int, ...]:
    """Name each full block of a prompt by all that is in it and before it."""
    plain = isinstance(prompt, str)
    step = block_size * (CHARACTERS_PER_TOKEN if plain else 1)
    so_far, names = blake2b(salt.encode(), digest_size=8), []
    for start in range(0, len(prompt) - step + 1, step):
        part = prompt[start : start + step]
        so_far.update(part.encode(errors="replace") if plain else repr(part).encode())  # type: ignore[union-attr]
        names.append(int.from_bytes(so_far.digest(), "big"))
    return tuple(names)
