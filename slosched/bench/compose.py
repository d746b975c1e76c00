"""From requests of a trace to requests over HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Any

import orjson

from slosched.bench.prompts import Prompts
from slosched.client.connection import Call
from slosched.core.request import TracedRequest
from slosched.core.slo import SloClass
from slosched.core.tags import Tag, to_headers, to_vllm_priority


class Endpoint(StrEnum):
    """Which of OpenAI's interfaces is used."""

    completions = "completions"
    chat = "chat"

    @property
    def path(self) -> str:
        """Where it is."""
        return "/v1/chat/completions" if self is Endpoint.chat else "/v1/completions"


@dataclass(frozen=True, slots=True)
class Composer:
    """Writes requests.

    Parameters
    ----------
    model
        Its name on the server.
    counts_along
        Whether the server may be asked to say with every piece how many tokens there are, as
        vLLM does.
    classes
        What a class's name promises; a request with other limits names its own. None to send no
        tags.
    natural
        Whether an answer may stop by itself before it is as long as the trace's.
    cache_salt
        Prompts are found in the server's prefix cache only if they came with the same; "" to say
        nothing, as only vLLM knows it.
    """

    model: str
    prompts: Prompts
    endpoint: Endpoint = Endpoint.completions
    counts_along: bool = True
    classes: Mapping[str, SloClass] | None = None
    natural: bool = False
    cache_salt: str = ""

    def call(self, traced: TracedRequest) -> Call:
        """Write one request."""
        body: dict[str, Any] = {
            "model": self.model,
            **self._prompt(traced),
            "max_tokens": traced.output_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.counts_along:
            body["stream_options"]["continuous_usage_stats"] = True
        if not self.natural:
            body["ignore_eos"] = True
        if self.cache_salt:
            body["cache_salt"] = self.cache_salt
        headers = {}
        if self.classes is not None:
            headers = to_headers(_tag(traced, self.classes))
            if traced.request.priority:
                body["priority"] = to_vllm_priority(traced.request.priority)
        return Call(
            self.endpoint.path, orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY), headers
        )

    def _prompt(self, traced: TracedRequest) -> dict[str, Any]:
        own = traced.request.prompt
        if self.endpoint is Endpoint.chat:
            content = self.prompts.text(traced) if own is None else own
            return {"messages": [{"role": "user", "content": content}]}
        return {"prompt": self.prompts.tokens(traced) if own is None else own}


def _tag(traced: TracedRequest, classes: Mapping[str, SloClass]) -> Tag:
    """Say what a request asks for: its class, and its limits where they are not the class's."""
    request = traced.request
    explicit = frozenset[str]()
    if request.slo_class not in classes or classes[request.slo_class].slo != request.slo:
        limits = ("ttft", "tpot", "e2e")
        explicit = frozenset(name for name in limits if getattr(request.slo, name) < inf)
    return Tag(request.slo_class, request.slo, request.tenant, explicit)
