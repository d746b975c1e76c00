"""The front end before several replicas: one queue, late binding, and replicas that fail."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest

from slosched_server.listen import free_port
from tests.server.fake_engine import FakeEngine, answer, die, stream
from tests.server.fleet import COMPLETIONS, ask, fleet
from tests.simulated_engine.serve import simulated

EVENTS = [b'data: {"choices":[{"text":"a"}]}\n\n', b"data: [DONE]\n\n"]


@pytest.mark.parametrize("kind", ["planned", "round_robin", "fewest_outstanding"])
def test_all_are_served(kind: str) -> None:
    async def main() -> None:
        slots = "engine.max_num_seqs=4"
        async with (
            simulated(slots) as one,
            simulated(slots) as two,
            fleet([one, two], f"fleet.assignment={{kind: {kind}}}") as client,
        ):
            said = await asyncio.gather(
                *(ask(client, max_tokens=20, stream=i % 2 == 0) for i in range(30))
            )
            assert {status for status, _, _ in said} == {200}
            assert {replica for _, replica, _ in said} == {"r0", "r1"}
            async with client.get("/metrics") as got:
                assert b"slosched_request_queue_seconds_count" in await got.read()

    asyncio.run(main())


@asynccontextmanager
async def full(asked: int, *overrides: str) -> AsyncIterator[tuple[aiohttp.ClientSession, "Sent"]]:
    """Ask so often of two replicas that never end; gives a client, and counts what was sent."""
    hangs = stream(EVENTS[:1], then=_forever)
    async with (
        FakeEngine(hangs) as one,
        FakeEngine(hangs) as two,
        fleet([one.url, two.url], *overrides) as client,
    ):
        sent = Sent(one, two)
        tasks = [
            asyncio.create_task(ask(client, stream=True, max_tokens=3000)) for _ in range(asked)
        ]
        try:
            yield client, sent
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class Sent:
    """What engines were asked to generate."""

    def __init__(self, *engines: FakeEngine) -> None:
        self._engines = engines

    def __len__(self) -> int:
        return sum(seen.method == "POST" for engine in self._engines for seen in engine.seen)

    async def reach(self, number: int) -> None:
        for _ in range(3000):
            if len(self) >= number:
                return
            await asyncio.sleep(0.01)
        raise TimeoutError


async def _forever(*_: object) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(("kind", "expected"), [("planned", 8), ("round_robin", 12)])
def test_under_a_plan_nobody_is_sent_before_there_is_room(kind: str, expected: int) -> None:
    async def main() -> None:
        async with full(12, f"fleet.assignment={{kind: {kind}}}") as (_, sent):
            await sent.reach(expected)
            await asyncio.sleep(0.5)
            assert len(sent) == expected

    asyncio.run(main())


def test_who_would_be_late_is_refused_and_told_when_to_come_again() -> None:
    """All slots are held: a request of a class that is refused has no chance."""

    async def main() -> None:
        async with full(8, "classes.interactive.overload=reject") as (client, sent):
            await sent.reach(8)
            async with client.post(COMPLETIONS, json={"prompt": "p"}) as got:
                error = (await got.json())["error"]
                assert (got.status, error["code"]) == (429, "overloaded")
                assert int(got.headers["retry-after"]) >= 1
                assert got.headers["x-slosched-class"] == "interactive"
            batch = {"x-slo-class": "batch"}
            patient = asyncio.ensure_future(
                client.post(COMPLETIONS, json={"prompt": "p"}, headers=batch)
            )
            await asyncio.sleep(0.3)
            assert not patient.done()
            patient.cancel()
            async with client.get("/metrics") as got:
                page = await got.read()
            assert b'outcome="shed",slo_class="interactive"} 1.0' in page

    asyncio.run(main())


@pytest.mark.parametrize(
    ("bound", "words", "asked"),
    [
        ("fleet.max_waiting=1", "1 requests wait already", 9),
        ("fleet.max_waiting_tokens=1", "prompts of 1 tokens wait already", 9),
        ("fleet.max_wait_s=0.2", "waited in vain", 8),
    ],
)
def test_the_queue_has_bounds(bound: str, words: str, asked: int) -> None:
    async def main() -> None:
        async with full(asked, bound) as (client, sent):
            await sent.reach(8)
            for _ in range(100):  # whoever is to wait may be on the way yet
                with suppress(TimeoutError):
                    async with asyncio.timeout(2.0):
                        status, _, body = await ask(client)
                    break
            assert (status, words in body.decode()) == (429, True)

    asyncio.run(main())


@pytest.mark.parametrize("fails", ["dies", "refuses", "is not there"])
def test_before_its_first_byte_a_request_goes_elsewhere_once(fails: str) -> None:
    """Nobody who asks sees it, as long as there is another replica."""

    async def main() -> None:
        reply = die if fails == "dies" else answer(b"{}", 503)
        async with FakeEngine(reply) as broken, FakeEngine(answer(b'{"whole":1}')) as well:
            url = f"http://127.0.0.1:{free_port('127.0.0.1', 0)}"
            urls = [url if fails == "is not there" else broken.url, well.url]
            async with fleet(urls, "fleet.assignment={kind: round_robin}") as client:
                for _ in range(4):
                    assert await ask(client) == (200, "r1", b'{"whole":1}')
            asked = [seen for seen in broken.seen if seen.target == COMPLETIONS]
            assert len(asked) >= (fails != "is not there")
            assert len([seen for seen in well.seen if seen.target == COMPLETIONS]) == 4

    asyncio.run(main())


def test_who_fails_twice_is_told() -> None:
    async def main() -> None:
        async with FakeEngine(die) as one, FakeEngine(die) as two, FakeEngine(die) as three:
            async with fleet([one.url, two.url, three.url]) as client:
                status, _, body = await ask(client)
            assert (status, b"engine_unreachable" in body) == (502, True)
            asked = [seen for e in (one, two, three) for seen in e.seen if seen.method == "POST"]
            assert len(asked) == 2

    asyncio.run(main())


def test_after_the_first_byte_the_stream_ends_with_an_error_event() -> None:
    async def main() -> None:
        cut = stream(EVENTS[:1], then=die)
        async with FakeEngine(cut) as one, FakeEngine(cut) as two:
            async with fleet([one.url, two.url]) as client:
                status, _, body = await ask(client, stream=True)
            assert status == 200
            assert body.startswith(EVENTS[0])
            assert b"engine_broke_off" in body
            posts = [seen for e in (one, two) for seen in e.seen if seen.method == "POST"]
            assert len(posts) == 1

    asyncio.run(main())


async def nobody_is_there(client: aiohttp.ClientSession) -> None:
    """Wait until probes have found out."""
    for _ in range(3000):
        async with client.get("/ready") as got:
            if got.status == 503:
                return
        await asyncio.sleep(0.01)
    raise TimeoutError


def test_models_of_all_and_ready_if_any_is() -> None:
    async def main() -> None:
        async with (
            simulated() as one,
            FakeEngine(answer()) as two,
            fleet([one, two.url]) as client,
        ):
            async with client.get("/v1/models") as got:
                names = [model["id"] for model in (await got.json())["data"]]
            assert names == ["simulated", "fake"]
            async with client.get("/ready") as got:
                assert got.status == 200
        gone = [f"http://127.0.0.1:{free_port('127.0.0.1', 0)}" for _ in range(2)]
        async with fleet(gone) as client:
            await nobody_is_there(client)
            async with client.get("/v1/models") as got:
                assert got.status == 502

    asyncio.run(main())


def test_who_waits_is_served_when_a_replica_comes_back() -> None:
    async def main() -> None:
        port = free_port("127.0.0.1", 0)
        urls = [f"http://127.0.0.1:{free_port('127.0.0.1', 0)}", f"http://127.0.0.1:{port}"]
        async with fleet(urls) as client:
            await nobody_is_there(client)
            waiting = asyncio.create_task(ask(client))
            await asyncio.sleep(0.3)
            assert not waiting.done()
            async with FakeEngine(answer(b"{}"), port):
                assert (await waiting)[:2] == (200, "r1")

    asyncio.run(main())


def test_who_hangs_up_before_the_first_byte_is_hung_up_on_at_the_engine() -> None:
    """At once, whoever collects garbage and when: that is how vLLM learns to abort."""

    async def main() -> None:
        async with (
            FakeEngine(_forever) as one,
            FakeEngine(_forever) as two,
            fleet([one.url, two.url]) as client,
        ):
            asking = asyncio.create_task(ask(client))
            await Sent(one, two).reach(1)
            gc.disable()
            try:
                asking.cancel()
                gone = [asyncio.create_task(engine.gone.acquire()) for engine in (one, two)]
                done, late = await asyncio.wait(gone, timeout=20, return_when="FIRST_COMPLETED")
                assert done
            finally:
                gc.enable()
            for task in late:
                task.cancel()

    asyncio.run(main())


def test_who_hangs_up_in_the_queue_is_never_sent() -> None:
    async def main() -> None:
        async with simulated("engine.max_num_seqs=4", speed=1.0) as one, FakeEngine() as two:
            async with fleet([one, two.url]) as client:
                async with client.post(f"{one}/faults", json={"kind": "hang"}):
                    pass
                two.reply = stream(EVENTS[:1], then=_forever)
                held = [asyncio.create_task(ask(client, stream=True)) for _ in range(8)]
                await asyncio.sleep(0.5)
                late = asyncio.create_task(ask(client, prompt="late"))
                await asyncio.sleep(0.3)
                late.cancel()
                await asyncio.sleep(0.3)
                for task in held:
                    task.cancel()
                await asyncio.gather(*held, late, return_exceptions=True)
                await asyncio.sleep(0.3)
            assert not [seen for seen in two.seen if b"late" in seen.body]

    asyncio.run(main())
