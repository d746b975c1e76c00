"""Tier C: embeddings of a real encoder, by vLLM itself and through the gateway."""

from collections.abc import Iterator

import openai
import pytest

from tests.predictors.parts import minilm
from tests.server.gateway import gateway
from tests.vllm.server import Server, serving

pytestmark = pytest.mark.engine

TEXTS = ["a cat sat on the mat", "a kitten lay on the rug", "interest rates rose again"]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[openai.OpenAI, openai.OpenAI]]:
    """Clients of vLLM, and of the gateway before it."""
    scratch = tmp_path_factory.mktemp("embeddings")
    short = {"max_model_len": "256", "max_num_batched_tokens": "256"}
    with (
        serving(minilm(), scratch, "--runner=pooling", **short) as server,
        gateway(scratch / "gateway.log", "--upstream", _url(server)) as front,
        openai.OpenAI(base_url=f"{_url(server)}/v1", api_key="none", max_retries=0) as direct,
        openai.OpenAI(base_url=f"{front}/v1", api_key="none", max_retries=0) as through,
    ):
        yield direct, through


def _url(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}"


def test_embeddings_are_the_same_by_both_ways(both: tuple[openai.OpenAI, openai.OpenAI]) -> None:
    direct, through = (client.embeddings.create(model="tiny", input=TEXTS) for client in both)
    assert through.usage == direct.usage
    assert [one.embedding for one in through.data] == [one.embedding for one in direct.data]
    cat, kitten, rates = (one.embedding for one in through.data)
    likeness = sum(a * b for a, b in zip(cat, kitten, strict=True))
    assert likeness > 2 * sum(a * b for a, b in zip(cat, rates, strict=True))


def test_what_vllm_refuses_is_refused_in_its_words(
    both: tuple[openai.OpenAI, openai.OpenAI],
) -> None:
    refusals = []
    for client in both:
        with pytest.raises(openai.BadRequestError) as caught:
            client.embeddings.create(model="tiny", input="word " * 300)
        refusals.append(caught.value.body)
    assert refusals[0] == refusals[1]
    with pytest.raises(openai.NotFoundError):
        both[1].embeddings.create(model="big", input="a")
