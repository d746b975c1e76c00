"""What servers say of themselves."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import orjson
import pytest

from slosched.client.connection import Connection
from slosched.client.server import Sample, metrics, policy_in_force, served_model, total
from slosched.client.vocabulary import USUAL, parse_range, safe_ids
from slosched.core.errors import ConfigError, ServerError
from tests.engines.fake_server import FakeServer, serving

MODELS = orjson.dumps({"data": [{"id": "a", "owned_by": "vllm", "max_model_len": 9}, {"id": "b"}]})


class Pages:
    """A connection to a server of fixed pages."""

    url = "http://pages"

    def __init__(self, **pages: object) -> None:
        self._pages = pages

    async def get(self, path: str) -> bytes:
        return self._page(path)

    async def post(self, path: str, _: object) -> Any:
        return orjson.loads(self._page(path))

    def _page(self, path: str) -> bytes:
        page = self._pages.get(path.rpartition("/")[2])
        if page is None:
            raise ServerError(f"{path}: 404")
        return page if isinstance(page, bytes) else orjson.dumps(page)


def ask(what: Callable[..., Coroutine[Any, Any, Any]], *rest: object, **pages: object) -> Any:
    return asyncio.run(what(Pages(**pages), *rest))


def test_the_first_model_is_taken_unless_one_is_named() -> None:
    first = ask(served_model, models=MODELS, version=b'{"version": "0.32.0"}')
    assert (first.name, first.is_vllm, first.max_model_len) == ("a", True, 9)
    assert first.version == "0.32.0"
    second = ask(served_model, "b", models=MODELS)
    assert (second.name, second.is_vllm, second.max_model_len) == ("b", False, None)
    assert second.version == ""


@pytest.mark.parametrize(
    ("pages", "complaint"),
    [
        ({}, "404"),
        ({"models": b"<html>"}, "is no list of models"),
        ({"models": {"data": []}}, "serves no model"),
        ({"models": MODELS}, "serves no 'aa', did you mean a?"),
    ],
)
def test_a_server_without_the_model_is_refused(pages: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ServerError) as caught:
        ask(served_model, "aa", **pages)
    assert complaint in str(caught.value)


def test_metrics_are_read_with_their_labels() -> None:
    page = b'# TYPE a gauge\na{x="1",y="q\\"}"} 2.5\na{x="2"} 1\nb 3e2\nc NaN\nd nonsense\n'
    samples = ask(metrics, metrics=page)
    assert Sample("a", 2.5, {"x": "1", "y": 'q\\"}'}) in samples
    assert total(samples, "a") == 3.5
    assert total(samples, "b") == 300
    assert total(samples, "none") is None
    assert ask(metrics) == []


def test_the_policy_is_the_one_that_planned_meanwhile() -> None:
    def solves(**counts: float) -> list[Sample]:
        name = "slosched_solve_seconds_count"
        return [Sample(name, count, {"solver": kind}) for kind, count in counts.items()]

    assert policy_in_force(solves(edf=90), solves(edf=90, planned=3)) == "planned"
    assert policy_in_force([], []) == ""
    assert policy_in_force(solves(edf=90), solves(edf=90)) == ""


def test_ids_are_those_that_the_tokenizer_knows() -> None:
    usual = np.arange(USUAL[0], USUAL[1] + 1)
    np.testing.assert_array_equal(ask(safe_ids, "m"), usual)
    np.testing.assert_array_equal(ask(safe_ids, "m", detokenize={"prompt": " word"}), usual)
    tiny = ask(safe_ids, "m", detokenize={"prompt": ""}, tokenize={"tokens": [7, 5, 7]})
    assert tiny.tolist() == [5, 7]


@pytest.mark.parametrize("text", ["", "7", "9-3", "1-2-3", "-5", "a-b"])
def test_a_range_of_ids_is_two_numbers(text: str) -> None:
    with pytest.raises(ConfigError, match="--token-ids must be like"):
        parse_range(text)


def test_a_range_of_ids_has_both_ends() -> None:
    assert parse_range("3-5").tolist() == [3, 4, 5]


def test_nobody_there_is_an_error_with_the_address() -> None:
    with serving(FakeServer()) as server:
        url = server.url
        assert asyncio.run(_model_of(url)) == "fake"
    with pytest.raises(ServerError, match=url):
        asyncio.run(_model_of(url))


async def _model_of(url: str) -> str:
    async with Connection(url) as connection:
        return (await served_model(connection)).name
