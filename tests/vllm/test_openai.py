"""Tier C: the openai package before the gateway hears what it hears before vLLM itself."""

import json
from collections.abc import Iterable, Iterator
from http.client import HTTPConnection
from itertools import groupby
from pathlib import Path
from time import sleep
from typing import Any

import openai
import pytest

from tests.server.gateway import gateway
from tests.vllm.server import Server, serving

pytestmark = pytest.mark.engine

HI: Any = [{"role": "user", "content": "hello"}]
GREEDY: Any = {"model": "tiny", "temperature": 0}
# Of the moment, or drawn: the same question has others each time.
FRESH = ("id", "created", "created_at", "completed_at", "item_id", "call_id")
SWITCH: Any = {
    "type": "function",
    "function": {
        "name": "switch",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"on": {"type": "boolean"}},
            "required": ["on"],
            "additionalProperties": False,
        },
    },
}
SWITCH_IT: Any = {"type": "function", "function": {"name": "switch"}}


class Both:
    """The same engine by two ways."""

    def __init__(self, server: Server, url: str) -> None:
        self.server, self.url = server, url
        direct = f"http://127.0.0.1:{server.port}"
        self.clients = [
            openai.OpenAI(base_url=f"{root}/v1", api_key="none", max_retries=0)
            for root in (direct, url)
        ]
        self.client = self.clients[1]

    def same(self, ask: Any) -> Any:
        """Ask by both ways; what comes is the same but for what is fresh, and is given back."""
        direct, through = (ask(client) for client in self.clients)
        assert _lasting(through) == _lasting(direct)
        return through


@pytest.fixture(scope="module")
def both(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    scratch = tmp_path_factory.mktemp("openai")
    flags = ["--enable-auto-tool-choice", "--tool-call-parser=hermes"]
    options = '{"backend": "xgrammar", "disable_any_whitespace": true}'
    flags.append(f"--structured-outputs-config={options}")
    slow = "tests.vllm.unhurried.Unhurried"
    with serving(tiny_model, scratch, *flags, scheduler_cls=slow) as server:
        url = f"http://127.0.0.1:{server.port}"
        config = ("--config", str(scratch / "slo.yaml"))
        with gateway(scratch / "gateway.log", "--upstream", url, *config) as front:
            pair = Both(server, front)
            yield pair
            for client in pair.clients:
                client.close()


def _lasting(value: Any) -> Any:
    """Return plain data without what is fresh each time."""
    if hasattr(value, "model_dump"):
        value = value.model_dump()
    if isinstance(value, dict):
        return {key: _lasting(item) for key, item in value.items() if key not in FRESH}
    return [_lasting(item) for item in value] if isinstance(value, list) else value


def test_chat(both: Both) -> None:
    said = both.same(lambda c: c.chat.completions.create(**GREEDY, messages=HI, max_tokens=7))
    assert said.usage.completion_tokens == 7


def test_completions_of_several_prompts(both: Both) -> None:
    said = both.same(lambda c: c.completions.create(**GREEDY, prompt=["a", "b"], max_tokens=5))
    assert [choice.index for choice in said.choices] == [0, 1]


@pytest.mark.parametrize("usage", [False, True])
def test_streams(both: Both, usage: bool) -> None:
    options = {"stream_options": {"include_usage": True}} if usage else {}
    asked: Any = {**GREEDY, "max_tokens": 6, "stream": True, **options}
    chat = both.same(lambda c: joined(c.chat.completions.create(**asked, messages=HI)))
    plain = both.same(lambda c: joined(c.completions.create(**asked, prompt="hi")))
    for said in (chat, plain):
        assert said["text"]
        assert said["usage"] == ([6] if usage else [])


def test_two_choices(both: Both) -> None:
    said = both.same(
        lambda c: c.chat.completions.create(
            model="tiny", messages=HI, max_tokens=5, n=2, seed=3, temperature=1
        )
    )
    assert [choice.index for choice in said.choices] == [0, 1]


def test_logprobs(both: Both) -> None:
    chat = both.same(
        lambda c: c.chat.completions.create(
            **GREEDY, messages=HI, max_tokens=4, logprobs=True, top_logprobs=2
        )
    )
    assert [len(token.top_logprobs) for token in chat.choices[0].logprobs.content] == [2] * 4
    plain = both.same(
        lambda c: c.completions.create(**GREEDY, prompt="hi", max_tokens=4, logprobs=2)
    )
    assert len(plain.choices[0].logprobs.token_logprobs) == 4


def test_stop(both: Both) -> None:
    def ask(client: openai.OpenAI, **more: Any) -> Any:
        return client.completions.create(**GREEDY, prompt="hi", max_tokens=12, **more)

    whole = ask(both.client).choices[0].text
    [choice] = both.same(lambda c: ask(c, stop=whole[5])).choices
    assert (choice.text, choice.finish_reason) == (whole[: whole.index(whole[5])], "stop")


@pytest.mark.parametrize("choice", [SWITCH_IT, "required"], ids=["named", "required"])
@pytest.mark.parametrize("stream", [False, True])
def test_tool_calls(both: Both, choice: Any, stream: bool) -> None:
    # A model of random weights would go on with the next call.
    def ask(client: openai.OpenAI) -> Any:
        said = client.chat.completions.create(
            **GREEDY, messages=HI, max_tokens=200, tools=[SWITCH], tool_choice=choice,
            stream=stream, stop="</tool_call>", extra_body={"include_stop_str_in_output": True},
        )  # fmt: skip
        return joined(said) if stream else said

    said = both.same(ask)
    if stream:
        name, arguments = said["name"], said["arguments"]
    else:
        called = said.choices[0].message.tool_calls[0].function
        name, arguments = called.name, called.arguments
    assert name == "switch"
    assert json.loads(arguments)["on"] in (True, False)


def test_responses(both: Both) -> None:
    said = both.same(lambda c: c.responses.create(**GREEDY, input="hello", max_output_tokens=6))
    assert said.usage.output_tokens == 6
    assert said.output_text


def test_streamed_responses(both: Both) -> None:
    def ask(client: openai.OpenAI) -> Any:
        said = client.responses.create(**GREEDY, input="hi", max_output_tokens=6, stream=True)
        events = list(said)
        kinds = [kind for kind, _ in groupby(event.type for event in events)]
        deltas = "".join(getattr(event, "delta", "") for event in events)
        return [kinds, deltas, events[-1].response.output]

    kinds, deltas, output = both.same(ask)
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert deltas == output[0].content[0].text


def test_stored_responses_are_not_there_unless_vllm_stores_them(both: Both) -> None:
    for client in both.clients:
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve("resp_none")


def test_models(both: Both) -> None:
    assert [model.id for model in both.same(lambda c: list(c.models.list()))] == ["tiny"]


def test_an_unknown_model_is_not_found(both: Both) -> None:
    for client in both.clients:
        with pytest.raises(openai.NotFoundError, match="`big` does not exist"):
            client.completions.create(model="big", prompt="hi")


def test_a_bad_header_is_a_bad_request_that_names_it(both: Both) -> None:
    with pytest.raises(openai.BadRequestError, match="unknown class 'gold'") as caught:
        both.client.responses.create(**GREEDY, input="hi", extra_headers={"x-slo-class": "gold"})
    assert (caught.value.param, caught.value.code) == ("x-slo-class", "invalid_slo")


def test_what_vllm_refuses_is_refused_in_its_words(both: Both) -> None:
    messages = []
    for client in both.clients:
        with pytest.raises(openai.BadRequestError) as caught:
            client.completions.create(**GREEDY, prompt="hi", max_tokens=-1)
        messages.append(caught.value.body)
    assert messages[0] == messages[1]


def joined(chunks: Iterable[Any]) -> dict[str, Any]:
    """Put the pieces of a stream together: where it is cut is a matter of the moment."""
    whole: dict[str, Any] = {"text": "", "name": "", "arguments": "", "ends": [], "usage": []}
    for chunk in chunks:
        whole["usage"] += [chunk.usage.completion_tokens] if chunk.usage else []
        for choice in chunk.choices:
            delta = getattr(choice, "delta", None)
            whole["text"] += (delta.content if delta else choice.text) or ""
            whole["ends"] += [choice.finish_reason] if choice.finish_reason else []
            for call in (delta.tool_calls if delta else None) or []:
                whole["name"] += call.function.name or ""
                whole["arguments"] += call.function.arguments or ""
    return whole


# -- clients that hang up --------------------------------------------------------------------------

SLOW: Any = {"ignore_eos": True, "vllm_xargs": {"test_step_s": 0.3}}
# It forgets a request when it aborts it: what the engine does after that, its scheduler counts.
TOKENS = "vllm:generation_tokens_total"
# The one that runs, the one that vLLM has prepared meanwhile, and one for the way.
MOST_AFTER = 3


def counted(server: Server, name: str) -> float:
    return sum(server.metrics(name).values())


def stepped(server: Server) -> int:
    return (server.scratch / "steps").stat().st_size


@pytest.mark.parametrize("stream", [True, False])
def test_who_hangs_up_stops_the_engine_within_a_step_and_frees_its_slot(
    both: Both, stream: bool
) -> None:
    server = both.server
    before = counted(server, TOKENS)
    connection = HTTPConnection(both.url.removeprefix("http://"), timeout=60)
    body = {**GREEDY, "prompt": "hi", "max_tokens": 2000, "stream": stream, **SLOW}
    headers = {"content-type": "application/json"}
    connection.request("POST", "/v1/completions", json.dumps(body), headers)
    answer = connection.getresponse() if stream else None
    while counted(server, TOKENS) < before + 3:
        sleep(0.01)
    steps = stepped(server)
    if answer:
        assert answer.readline().startswith(b"data: ")
        answer.close()
    connection.close()
    server.until("vllm:num_requests_running{", 0)
    assert stepped(server) - steps <= MOST_AFTER
    assert both.client.completions.create(**GREEDY, prompt="next", max_tokens=1).choices
