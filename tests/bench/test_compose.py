"""How a request of a trace is written for the server."""

from dataclasses import replace
from math import inf
from typing import Any

import numpy as np
import orjson
import pytest

from slosched import Request, Slo, SloClass, TracedRequest
from slosched.bench.compose import Composer, Endpoint
from slosched.bench.prompts import Prompts
from slosched.core.tags import Tagger

CLASSES = {
    "chat": SloClass("chat", Slo(ttft=1.0, weight=2.0)),
    "batch": SloClass("batch", Slo(e2e=30.0)),
}
COMPOSER = Composer("m", Prompts(np.arange(100), 0), classes=CLASSES)
CHAT = TracedRequest(Request("r", 0.0, 12, CLASSES["chat"].slo, "chat"), 34)


def body(composer: Composer, traced: TracedRequest) -> dict[str, Any]:
    written: dict[str, Any] = orjson.loads(composer.call(traced).body)
    return written


def test_lengths_are_the_traces() -> None:
    written = body(COMPOSER, CHAT)
    assert len(written["prompt"]) == 12
    assert (written["max_tokens"], written["ignore_eos"], written["stream"]) == (34, True, True)
    assert written["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    assert COMPOSER.call(CHAT).path == "/v1/completions"


def test_a_salt_keeps_prompts_of_other_runs_out() -> None:
    assert "cache_salt" not in body(COMPOSER, CHAT)
    assert body(replace(COMPOSER, cache_salt="x"), CHAT)["cache_salt"] == "x"


def test_natural_answers_may_stop_and_others_do_not_count_along() -> None:
    written = body(replace(COMPOSER, natural=True, counts_along=False), CHAT)
    assert "ignore_eos" not in written
    assert written["stream_options"] == {"include_usage": True}


def test_a_prompt_of_the_traces_own_goes_as_it_is() -> None:
    own = replace(CHAT, request=replace(CHAT.request, prompt="why?"))
    assert body(COMPOSER, own)["prompt"] == "why?"
    chat = replace(COMPOSER, endpoint=Endpoint.chat)
    assert body(chat, own)["messages"] == [{"role": "user", "content": "why?"}]
    assert len(body(chat, CHAT)["messages"][0]["content"].split()) == 12
    assert chat.call(own).path == "/v1/chat/completions"


@pytest.mark.parametrize(
    ("slo", "headers"),
    [
        (CLASSES["chat"].slo, {"x-slo-class": "chat"}),
        (Slo(ttft=0.25, weight=2.0), {"x-slo-class": "chat", "x-slo-ttft-ms": "250"}),
        (
            Slo(tpot=0.0501, e2e=9.0, weight=2.0),
            {"x-slo-class": "chat", "x-slo-tpot-ms": "50", "x-slo-e2e-ms": "9000"},
        ),
    ],
)
def test_a_request_says_what_it_asks_for(slo: Slo, headers: dict[str, str]) -> None:
    call = COMPOSER.call(replace(CHAT, request=replace(CHAT.request, slo=slo)))
    assert call.headers == headers
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    understood = Tagger(CLASSES, "batch").read(raw)
    assert understood.slo_class == "chat"
    for limit in ("ttft", "tpot", "e2e"):
        asked = getattr(slo, limit)
        assert getattr(understood.slo, limit) == pytest.approx(asked, abs=5e-4) or asked == inf


def test_priorities_and_tenants_go_along() -> None:
    request = replace(CHAT.request, priority=3, tenant="acme")
    call = COMPOSER.call(replace(CHAT, request=request))
    assert call.headers["x-gateway-inference-fairness-id"] == "acme"
    assert orjson.loads(call.body)["priority"] == -3
    assert "priority" not in body(COMPOSER, CHAT)


def test_without_tags_nothing_is_said() -> None:
    request = replace(CHAT.request, priority=3, tenant="acme")
    call = replace(COMPOSER, classes=None).call(replace(CHAT, request=request))
    assert call.headers == {}
    assert "priority" not in orjson.loads(call.body)
