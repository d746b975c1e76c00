"""Overload: who would be late is served as less than it asked for, and told so."""

import asyncio

import orjson

from slosched_server.listen import free_port
from tests.server.fake_engine import FakeEngine, Seen, answer
from tests.server.fleet import COMPLETIONS, ask, fleet

DOWNGRADE = (
    "classes.interactive.overload=downgrade",
    "classes.interactive.downgrade_to=batch",
)


def test_who_would_be_late_is_served_as_another_class_and_told() -> None:
    """All slots are held, so that nobody who comes now has a first token in time."""

    async def main() -> None:
        free, held = asyncio.Event(), asyncio.Semaphore(0)

        async def waits(seen: Seen, writer: asyncio.StreamWriter) -> None:
            held.release()
            await free.wait()
            await answer()(seen, writer)

        async with FakeEngine(waits) as engine, fleet([engine.url], *DOWNGRADE) as client:
            before = [asyncio.create_task(ask(client, max_tokens=3000)) for _ in range(4)]
            for _ in before:
                await held.acquire()
            late = asyncio.create_task(client.post(COMPLETIONS, json={"prompt": "late"}))
            await asyncio.sleep(0.3)
            assert not late.done()
            free.set()
            async with await late as got:
                assert got.status == 200
                assert got.headers["x-slosched-class"] == "batch"
                assert got.headers["x-slosched-downgraded-from"] == "interactive"
            await asyncio.gather(*before)
            [seen] = [seen for seen in engine.seen if b"late" in seen.body]
            xargs = orjson.loads(seen.body)["vllm_xargs"]
            assert xargs == {"slosched_class": "batch", "slosched_e2e_ms": 30_000}
            async with client.get("/metrics") as got:
                page = await got.read()
            name = b"slosched_requests_downgraded_total"
            assert name + b'{served_as="batch",slo_class="interactive"} 1.0' in page

    asyncio.run(main())


def test_who_is_in_time_is_served_as_what_it_asked_for() -> None:
    async def main() -> None:
        async with (
            FakeEngine(answer()) as one,
            fleet([one.url], *DOWNGRADE) as client,
            client.post(COMPLETIONS, json={"prompt": "p"}) as got,
        ):
            assert got.headers["x-slosched-class"] == "interactive"
            assert "x-slosched-downgraded-from" not in got.headers

    asyncio.run(main())


def test_a_limit_that_passes_while_one_waits_downgrades_too() -> None:
    async def main() -> None:
        nobody = f"http://127.0.0.1:{free_port('127.0.0.1', 0)}"
        limits = ("classes.interactive.ttft_ms=100", "fleet.max_wait_s=0.5")
        async with (
            fleet([nobody], *DOWNGRADE, *limits) as client,
            client.post(COMPLETIONS, json={"prompt": "p"}) as got,
        ):
            assert got.status == 429
            assert got.headers["x-slosched-class"] == "batch"
            assert got.headers["x-slosched-downgraded-from"] == "interactive"

    asyncio.run(main())
