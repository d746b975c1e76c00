"""What clients send to ask for an SLO is what servers read."""

import asyncio
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched import slo_headers, with_slo
from slosched.core.tags import Tagger
from tests.server.fake_engine import FakeEngine
from tests.server.front_end import CLASSES, front_end

MS = st.integers(1, 999_999_999)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "slo_class": st.sampled_from(["interactive", "batch"]),
            "tenant": st.just("acme"),
            "ttft_ms": MS, "tpot_ms": MS, "e2e_ms": MS,
        },
    )
)  # fmt: skip
def test_what_is_asked_for_is_read(asked: dict[str, Any]) -> None:
    """Law 11, from the other side."""
    raw = [(name.encode(), value.encode()) for name, value in slo_headers(**asked).items()]
    tag = Tagger(CLASSES, "interactive").read(raw)
    assert tag.slo_class == asked.get("slo_class", "interactive")
    assert tag.tenant == asked.get("tenant", "")
    for name in ("ttft", "tpot", "e2e"):
        if f"{name}_ms" in asked:
            assert getattr(tag.slo, name) == asked[f"{name}_ms"] / 1e3


@pytest.mark.parametrize("wrong", [0, -1, 1.5, 10**9, "500"])
def test_what_no_server_would_take_is_refused_at_once(wrong: Any) -> None:
    with pytest.raises(ValueError, match="ttft_ms must be whole milliseconds from 1"):
        slo_headers(ttft_ms=wrong)


def test_both_clients_of_openai_ask() -> None:
    ask: Any = {"model": "fake", "messages": [{"role": "user", "content": "hi"}]}

    async def main() -> None:
        async with FakeEngine() as engine, front_end(engine.url) as url:
            options: Any = {"base_url": f"{url}/v1", "api_key": "k", "max_retries": 0}
            async with openai.AsyncOpenAI(**options) as client:
                soon = with_slo(client, "batch", e2e_ms=700)
                response = await soon.chat.completions.with_raw_response.create(**ask)
                assert response.headers["x-slosched-class"] == "batch"
                assert engine.seen[-1].header(b"x-slo-e2e-ms") == b"700"
                await client.chat.completions.with_raw_response.create(**ask)
                assert engine.seen[-1].header(b"x-slo-e2e-ms") is None
            with openai.OpenAI(**options) as plain:
                tagged = with_slo(plain, "batch")
                await asyncio.to_thread(
                    lambda: tagged.chat.completions.with_raw_response.create(**ask)
                )
            assert engine.seen[-1].header(b"x-slo-class") == b"batch"

    asyncio.run(main())
