"""Tier C: a real vLLM behind a real Envoy and the picker says what it says when asked directly."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from time import sleep
from typing import Any

import openai
import pytest

from slosched.traces import read
from tests.picker.envoy import envoy
from tests.picker.pickers import picker
from tests.vllm.server import Server, serving

pytestmark = pytest.mark.engine

CONFIG = """\
classes:
  interactive: {ttft_ms: 1000}
  batch: {e2e_ms: 30000, service_tier: flex}
default_class: interactive
"""
ASK: Any = {
    "model": "tiny", "messages": [{"role": "user", "content": "hello"}], "temperature": 0,
    "max_tokens": 9, "stream": True, "stream_options": {"include_usage": True},
}  # fmt: skip


@pytest.fixture(scope="module")
def server(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tiny_model, tmp_path_factory.mktemp("server")) as started:
        yield started


async def _said(root: str, **headers: str) -> tuple[str, int]:
    """Return the text of a streamed answer, and how many tokens it has."""
    client = openai.AsyncOpenAI(base_url=f"{root}/v1", api_key="none", max_retries=0)
    text, tokens = "", 0
    async with client:
        async for part in await client.chat.completions.create(**ASK, extra_headers=headers):
            text += "".join(choice.delta.content or "" for choice in part.choices)
            tokens = part.usage.completion_tokens if part.usage else tokens
    return text, tokens


@pytest.mark.parametrize("shows_answers", [False, True], ids=["unseen", "shown"])
def test_the_same_tokens_under_the_class_that_was_asked_for(
    server: Server, tmp_path: Path, shows_answers: bool
) -> None:
    """Law 10; what the engine logs of a request is the tag that came in `vllm_xargs`."""
    url = f"http://127.0.0.1:{server.port}"
    config = tmp_path / "slosched.yaml"
    config.write_text(CONFIG)

    async def main() -> None:
        async with (
            picker(tmp_path, "--upstream", url, "--config", str(config)) as asked,
            envoy(
                tmp_path, [asked.address], [f"127.0.0.1:{server.port}"], shows_answers=shows_answers
            ) as proxy,
        ):
            for slo_class in ("interactive", "batch"):
                headers = {"x-gateway-inference-objective": slo_class}
                through = await _said(proxy.url, **headers)
                assert through == await _said(url)  # whose default is another class, by itself
                assert through[1] == 9

    asyncio.run(main())
    path, logged = server.scratch / "requests.jsonl", list[str]()
    for _ in range(200):
        logged = [str(one.slo_class) for one in read(path, ordered=False)]
        if len(logged) % 4 == 0:
            break
        sleep(0.05)
    assert sorted(logged[-4:]) == ["batch", "batch", "batch", "interactive"]
