"""Requests that wait at the picker: whoever leaves, leaves nothing, and none waits in vain."""

import asyncio

import pytest

from slosched_server.picker.ext_proc_pb2 import BUFFERED, FULL_DUPLEX_STREAMED, NONE, BodySendMode
from tests.picker.desks import ONE, TWO, FakeProbes, desk
from tests.picker.fake_envoy import (
    WHOLE,
    answer_body,
    answer_head,
    asking,
    body,
    head,
)

ASKS = head(), body(b'{"max_tokens":5}')


def test_who_waits_goes_when_there_is_room() -> None:
    async def main() -> None:
        async with (
            desk(urls=[ONE], slots=1) as picker,
            asking(picker.desk, *ASKS) as first,
            asking(picker.desk, *ASKS) as second,
        ):
            await first.sent()
            await picker.until_waiting(1)
            assert second.hears_nothing
            first.say(answer_head(), answer_body(WHOLE))
            await first.hears("response_headers")
            assert second.hears_nothing  # an answer that has begun still has its slot
            first.say(answer_body(b"", last=True))
            await second.sent()
            second.say(answer_head(ended=True))

    asyncio.run(main())


@pytest.mark.parametrize("reset", [True, False])
def test_law_1_a_hang_up_while_it_waits_leaves_nothing(reset: bool) -> None:
    async def main() -> None:
        async with desk(urls=[ONE], slots=1) as picker:
            async with asking(picker.desk, *ASKS) as first, asking(picker.desk, *ASKS) as second:
                await first.sent()
                await picker.until_waiting(1)
                if reset:
                    second.reset()
                else:
                    second.end()
                await picker.until_waiting(0)
                assert second.hears_nothing
                first.say(answer_head(ended=True))
            assert picker.empty
            assert sorted(picker.told.outcomes) == ["cancelled", "finished"]

    asyncio.run(main())


def test_what_comes_behind_a_body_does_not_end_a_wait() -> None:
    async def main() -> None:
        async with (
            desk(urls=[ONE], slots=1) as picker,
            asking(picker.desk, *ASKS) as first,
            asking(picker.desk, *ASKS) as second,
        ):
            await first.sent()
            await picker.until_waiting(1)
            # Envoy adds an empty piece behind a body that has ended.
            second.say(body(b""))
            first.say(answer_head(ended=True))
            await second.sent()
            second.say(answer_head(ended=True))

    asyncio.run(main())


@pytest.mark.parametrize("mode", [FULL_DUPLEX_STREAMED, BUFFERED])
@pytest.mark.parametrize("shown", [NONE, FULL_DUPLEX_STREAMED])
@pytest.mark.parametrize("after", range(5))
@pytest.mark.parametrize("reset", [True, False])
def test_law_1_a_hang_up_at_any_moment_leaves_nothing(
    mode: BodySendMode, shown: BodySendMode, after: int, reset: bool
) -> None:
    pieces = body(b'{"stream":', last=False), body(b"true}")
    whole = body(b'{"stream":true}', last=False)  # as it is where trailers follow
    says = [
        head(mode=mode, shown=shown), *(pieces if mode == FULL_DUPLEX_STREAMED else [whole]),
        answer_head(), answer_body(b"data: a\n\n"),
    ]  # fmt: skip

    async def main() -> None:
        async with desk() as picker:
            async with asking(picker.desk, *says[: after + 1]) as envoy:
                if reset:
                    await asyncio.sleep(0.01)  # it is somewhere in the middle
                    envoy.reset()
                else:
                    envoy.end()
            assert picker.empty

    asyncio.run(main())


def test_who_waits_at_a_picker_that_steps_down_may_try_again() -> None:
    async def main() -> None:
        async with desk(urls=[ONE], slots=1) as picker:
            async with asking(picker.desk, *ASKS) as first:
                await first.sent()
                async with asking(picker.desk, *ASKS) as second:
                    await picker.until_waiting(1)
                    picker.role.lead(leads=False)
                    said = await second.refused()
                    assert (said.status, said.error["code"]) == (503, "picker_unavailable")
                    assert said.headers["retry-after"] == b"1"
                async with asking(picker.desk, *ASKS) as third:
                    assert (await third.refused()).error["code"] == "picker_unavailable"
                # Whoever is being answered is answered to the end.
                first.say(answer_head(), answer_body(WHOLE, last=True))
            assert picker.told.outcomes == ["finished", "failed"]
            assert picker.empty
            picker.role.lead(leads=True)
            async with asking(picker.desk, *ASKS) as again:
                await again.sent()
                again.say(answer_head(ended=True))

    asyncio.run(main())


def test_a_standby_takes_nothing() -> None:
    async def main() -> None:
        async with desk(leads=False) as picker, asking(picker.desk, *ASKS) as envoy:
            assert (await envoy.refused()).error["code"] == "picker_unavailable"

    asyncio.run(main())


@pytest.mark.parametrize("target", ["/v1/completions", "/v1/models"])
def test_where_nobody_is_ready_one_may_try_again(target: str) -> None:
    async def main() -> None:
        probes = FakeProbes({ONE, TWO})
        async with desk(connect=probes.connect) as picker:
            await picker.until_ready(0)
            async with asking(picker.desk, head(target=target), body()) as envoy:
                said = await envoy.refused()
            assert (said.status, said.error["code"]) == (503, "no_endpoint")
            assert said.headers["retry-after"] == b"1"
            probes.ill.remove(TWO)
            await picker.until_ready(1)
            async with asking(picker.desk, *ASKS) as envoy:
                assert (await envoy.sent()).endpoints == ["10.0.0.2:8000"]
                envoy.say(answer_head(ended=True))

    asyncio.run(main())


def test_who_waits_for_replicas_that_stay_away_may_try_again() -> None:
    async def main() -> None:
        probes = FakeProbes()
        async with desk(urls=[ONE], slots=1, connect=probes.connect) as picker:
            async with asking(picker.desk, *ASKS) as first:
                await first.sent()
                async with asking(picker.desk, *ASKS) as second:
                    await picker.until_waiting(1)
                    probes.ill.add(ONE)
                    said = await second.refused()
                    assert (said.status, said.error["code"]) == (503, "no_endpoint")
                    assert said.headers["retry-after"] == b"1"
                first.end()
            assert picker.empty

    asyncio.run(main())


def test_who_waits_longer_than_one_may_is_refused() -> None:
    async def main() -> None:
        async with desk("fleet.max_wait_s=0.2", urls=[ONE], slots=1) as picker:
            async with asking(picker.desk, *ASKS) as first:
                await first.sent()
                async with asking(picker.desk, *ASKS) as second:
                    assert (await second.refused()).status == 429
                first.say(answer_head(ended=True))
            assert picker.empty

    asyncio.run(main())
