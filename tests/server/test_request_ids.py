"""Every request has an id: the client's, if it can stand anywhere, or one of ours."""

import asyncio
import re
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from slosched_server.request_ids import request_id, with_id
from tests.server.fake_engine import FakeEngine, answer, die
from tests.server.fleet import COMPLETIONS, ask, fleet
from tests.server.front_end import in_thread
from tests.server.test_transparency import _post

SANE = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
VALUES = st.binary(max_size=200) | st.from_regex(rb"[A-Za-z0-9._:/+=@-]{1,140}", fullmatch=True)


@given(value=VALUES, others=st.lists(st.tuples(st.just(b"x-a"), st.binary()), max_size=2))
def test_an_id_is_the_clients_or_fresh(value: bytes, others: list[tuple[bytes, bytes]]) -> None:
    """Law: ids are sane; a sane one of the client is kept, and its headers stay as they came."""
    headers = [*others, (b"x-request-id", value)]
    this = request_id(headers)
    assert SANE.fullmatch(this)
    kept = this.encode() == value
    assert kept == bool(re.fullmatch(SANE.pattern.encode(), value))
    assert kept or this != request_id(headers)
    sent = with_id(headers, this)
    assert [pair for pair in sent if pair[0] != b"x-request-id"] == others
    assert [pair[1] for pair in sent if pair[0] == b"x-request-id"] == [this.encode()]
    assert not kept or sent == headers


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[FakeEngine, str]]:
    with in_thread() as pair:
        yield pair


@pytest.mark.parametrize("body", [b"{}", b"junk"], ids=["served", "refused"])
@pytest.mark.parametrize("given_id", ["abc-1", "not sane", None])
def test_answer_and_engine_get_the_same_id(
    server: tuple[FakeEngine, str], body: bytes, given_id: str | None
) -> None:
    engine, url = server
    engine.reply = answer(headers=[(b"X-Request-Id", b"the engine's own")])
    engine.seen.clear()
    got, _ = _post(url, body, headers={"X-Request-Id": given_id} if given_id else {})
    (said,) = got.headers.get_all("x-request-id") or []
    assert (said == given_id) == (given_id == "abc-1")
    assert SANE.fullmatch(said)
    assert [seen.header(b"x-request-id") for seen in engine.seen] == (
        [said.encode()] if body == b"{}" else []
    )


def test_what_goes_wrong_with_a_request_is_logged_under_its_id() -> None:
    async def main() -> None:
        async with FakeEngine(answer(b"{}", 503)) as busy, FakeEngine(die) as dies:
            ids = {"x-request-id": "abc-1"}
            with structlog.testing.capture_logs() as lines:
                async with (
                    fleet([busy.url, dies.url]) as client,
                    client.post(COMPLETIONS, json={}, headers=ids) as got,
                ):
                    await got.read()
                    assert got.headers["x-request-id"] == "abc-1"
        told = [line for line in lines if "request_id" in line]
        # Whoever is asked last answers: 503 as it came, or nothing.
        assert "sent elsewhere" in {line["event"] for line in told}
        assert {line["request_id"] for line in told} == {"abc-1"}

    asyncio.run(main())


def test_both_replicas_that_try_a_request_know_it_by_one_id() -> None:
    async def main() -> None:
        async with FakeEngine(answer(b"{}", 503)) as busy, FakeEngine() as well:
            kind = "fleet.assignment={kind: round_robin}"
            async with fleet([busy.url, well.url], kind) as client:
                while not _asked(busy):
                    assert (await ask(client))[0] == 200
        assert _asked(busy) <= _asked(well)

    asyncio.run(main())


def _asked(engine: FakeEngine) -> set[bytes | None]:
    return {seen.header(b"x-request-id") for seen in engine.seen if seen.method == "POST"}
