"""A request from its head to the end of its answer, in all modes in which bodies are sent."""

import asyncio
import re

import pytest

from slosched_server.picker.ext_proc_pb2 import (
    BUFFERED,
    FULL_DUPLEX_STREAMED,
    NONE,
    STREAMED,
    BodySendMode,
)
from tests.picker.desks import ONE, desk
from tests.picker.fake_envoy import (
    WHOLE,
    Sent,
    answer_body,
    answer_head,
    answer_headers,
    answer_trailers,
    asking,
    body,
    head,
    trailers,
)

ID = (b"x-request-id", b"q-1")
EVENT = b'data: {"choices":[{"index":0,"text":"a"}]}\n\n'


SHOWN = [NONE, FULL_DUPLEX_STREAMED, STREAMED]


@pytest.mark.parametrize("shown", SHOWN)
def test_it_is_sent_on_with_its_tag_and_answered(shown: BodySendMode) -> None:
    async def main() -> None:
        async with desk() as picker:
            async with asking(picker.desk, head([ID], shown=shown), body()) as envoy:
                sent = await envoy.sent()
                assert sent.endpoints == ["10.0.0.1:8000", "10.0.0.2:8000"]
                assert sent.xargs["slosched_class"] == "interactive"
                assert sent.headers["content-length"] == b"%d" % len(sent.body)
                assert picker.dispatcher.replicas[0].outstanding == 1
                envoy.say(answer_head())
                headers = answer_headers(await envoy.hears("response_headers"))
                assert headers["x-slosched-class"] == b"interactive"
                assert headers["x-slosched-replica"] == b"r0"
                assert headers["x-request-id"] == b"q-1"
                assert headers["server-timing"].startswith(b"slosched;dur=")
                if shown == NONE:
                    envoy.end()  # is all that Envoy says of it
                else:
                    envoy.say(answer_body(WHOLE[:9]), answer_body(WHOLE[9:], last=True))
                for piece in (WHOLE[:9], WHOLE[9:]) if shown != NONE else ():
                    change = (await envoy.hears("response_body")).response_body.response
                    if shown == FULL_DUPLEX_STREAMED:
                        assert change.body_mutation.streamed_response.body == piece
                    else:
                        assert not change.HasField("body_mutation")
            assert picker.empty
            assert picker.told.outcomes == ["finished"]

    asyncio.run(main())


def test_where_answers_are_not_shown_trailers_end_them() -> None:
    async def main() -> None:
        async with desk() as picker:
            async with asking(picker.desk, head(shown=NONE), body()) as envoy:
                await envoy.sent()
                envoy.say(answer_head(), answer_trailers())
                await envoy.hears("response_headers")
                await envoy.hears("response_trailers")
            assert picker.told.outcomes == ["finished"]
            assert picker.empty

    asyncio.run(main())


def test_tokens_that_are_seen_are_counted() -> None:
    async def main() -> None:
        async with desk() as picker:
            asks = head(), body(b'{"stream":true}')
            async with asking(picker.desk, *asks) as envoy:
                await envoy.sent()
                envoy.say(answer_head(), *(answer_body(EVENT) for _ in range(3)))
                envoy.say(answer_body(b"data: [DONE]\n\n", last=True))
            [job] = picker.told.jobs
            assert (job.progress.tokens, job.progress.events) == (3, 3)
            assert job.progress.ttft is not None

    asyncio.run(main())


@pytest.mark.parametrize("last", [True, False])
def test_a_body_that_comes_whole_is_changed_whole(*, last: bool) -> None:
    """Envoy has the head answered before it collects the body; trailers may follow unseen."""

    async def main() -> None:
        async with desk() as picker:
            asks = head([(b"content-length", b"2")], mode=BUFFERED)
            async with asking(picker.desk, asks) as envoy:
                passed = await envoy.hears("request_headers")
                assert not passed.request_headers.HasField("response")
                envoy.say(body(last=last))
                said = await envoy.hears("request_body")
                sent = Sent.of(said)
                assert sent.endpoints[0] == "10.0.0.1:8000"
                assert sent.xargs["slosched_class"] == "interactive"
                assert sent.headers["content-length"] == b"%d" % len(sent.body)
                envoy.say(answer_head(ended=True))
            assert picker.empty

    asyncio.run(main())


@pytest.mark.parametrize("shown", [NONE, FULL_DUPLEX_STREAMED])
def test_trailers_of_a_request_pass_behind_its_body(shown: BodySendMode) -> None:
    async def main() -> None:
        async with desk() as picker:
            asks = head(shown=shown), body(b'{"prompt":', last=False), body(b'"p"}', last=False)
            async with asking(picker.desk, *asks, trailers()) as envoy:
                await envoy.sent_unread()
                piece = (await envoy.hears("request_body")).request_body.response
                streamed = piece.body_mutation.streamed_response
                assert streamed.body.endswith(b'"prompt":"p"}')
                assert not streamed.end_of_stream
                await envoy.hears("request_trailers")
                envoy.say(answer_head(ended=True))
                await envoy.hears("response_headers")
            assert picker.told.outcomes == ["finished"]
            assert picker.empty

    asyncio.run(main())


def test_a_large_body_goes_in_pieces_that_envoy_takes() -> None:
    async def main() -> None:
        async with desk() as picker:
            text = b'{"prompt":"' + b"x" * 200_000 + b'"}'
            pieces = [text[at : at + 50_000] for at in range(0, len(text), 50_000)]
            says = [body(piece, last=False) for piece in pieces]
            async with asking(picker.desk, head(), *says, body(b"")) as envoy:
                sent = await envoy.sent()
                assert sent.body.startswith(b'{"vllm_xargs":{"slosched_class":"interactive"')
                assert sent.body.endswith(b"}," + text[1:])
                envoy.say(answer_head(ended=True))
            assert picker.empty

    asyncio.run(main())


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_an_engines_own_errors_pass(status: int) -> None:
    async def main() -> None:
        async with desk() as picker:
            async with asking(picker.desk, head(), body()) as envoy:
                await envoy.sent()
                envoy.say(answer_head(status), answer_body(b"{}", last=True))
                await envoy.hears("response_headers")
            assert picker.told.outcomes == ["rejected" if status < 500 else "failed"]
            assert picker.told.jobs[0].progress.status == status
            assert picker.empty

    asyncio.run(main())


def test_an_answer_says_where_its_time_went() -> None:
    async def main() -> None:
        async with desk(urls=[ONE], slots=1) as picker:
            asks = head(), body(b'{"max_tokens":5}')
            async with asking(picker.desk, *asks) as first, asking(picker.desk, *asks) as second:
                await first.sent()
                await picker.until_waiting(1)
                await asyncio.sleep(0.05)
                first.say(answer_head(ended=True))
                await second.sent()
                second.say(answer_head(ended=True))
                said = answer_headers(await second.hears("response_headers"))["server-timing"]
            parts = {
                name: float(ms) for name, ms in re.findall(r"(\w+);dur=([-.\d]+)", said.decode())
            }
            assert list(parts) == ["slosched", "queue", "engine"]
            assert min(parts.values()) >= 0
            assert parts["queue"] >= 50  # it slept for as long, at least

    asyncio.run(main())


def test_an_id_is_given_to_who_has_none() -> None:
    async def main() -> None:
        async with desk() as picker, asking(picker.desk, head(), body()) as envoy:
            sent = await envoy.sent()
            envoy.say(answer_head(ended=True))
            headers = answer_headers(await envoy.hears("response_headers"))
            assert headers["x-request-id"] == sent.headers["x-request-id"] != b""

    asyncio.run(main())


def test_a_replica_that_served_in_place_of_another_one_is_known() -> None:
    """Envoy went on to the next of the list: the first cannot have been reached."""

    async def main() -> None:
        async with desk("fleet.probe_every_s=3600") as picker:
            async with asking(picker.desk, head(), body()) as envoy:
                sent = await envoy.sent()
                envoy.say(answer_head(served=sent.endpoints[1]))
                headers = answer_headers(await envoy.hears("response_headers"))
                assert headers["x-slosched-replica"] == b"r1"
                first, second = picker.dispatcher.replicas
                assert (first.state, second.state) == ("away", "ready")
                assert (first.outstanding, second.outstanding) == (0, 1)
                envoy.say(answer_body(WHOLE, last=True))
            assert picker.told.jobs[0].progress.attempts == 2
            assert picker.empty

    asyncio.run(main())


@pytest.mark.parametrize("served", ["10.0.0.1:8000", "192.0.2.7:1", "junk"])
def test_an_endpoint_that_nobody_knows_changes_nothing(served: str) -> None:
    async def main() -> None:
        async with desk("fleet.probe_every_s=3600") as picker:
            async with asking(picker.desk, head(), body()) as envoy:
                await envoy.sent()
                envoy.say(answer_head(served=served, ended=True))
                headers = answer_headers(await envoy.hears("response_headers"))
                assert headers["x-slosched-replica"] == b"r0"
            assert [one.state for one in picker.dispatcher.replicas] == ["ready", "ready"]
            assert picker.empty

    asyncio.run(main())


def test_one_replica_has_no_fallbacks() -> None:
    async def main() -> None:
        async with (
            desk(urls=[ONE]) as picker,
            asking(picker.desk, head(), body()) as envoy,
        ):
            assert (await envoy.sent()).endpoints == ["10.0.0.1:8000"]
            envoy.say(answer_head(ended=True))

    asyncio.run(main())
