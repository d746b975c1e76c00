"""Replicas that come, drain and go, without a front end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from slosched.config.live import LiveConfig
from slosched.core.request import Request
from slosched.core.slo import Slo
from slosched.dispatch import Dispatcher
from slosched_server.members import Members
from slosched_server.rules import Member
from tests.kubernetes_api.discovering import connect
from tests.kubernetes_api.objects import until

SOURCE = LiveConfig(None, ["fleet.assignment={kind: round_robin}"], queue=True, discovers=True)


def member(name: str, port: int = 1, **fields: object) -> Member:
    return SOURCE.member({"name": name, "url": f"http://127.0.0.1:{port}", **fields})


@asynccontextmanager
async def having(*members: Member) -> AsyncIterator[tuple[Members, Dispatcher]]:
    dispatcher = SOURCE.settings().dispatcher()
    kept = Members(
        dispatcher, connect, probe_every_s=3600.0, probe_timeout_s=5.0, changed=lambda: None
    )
    try:
        kept.configure(members)
        await until(lambda: len(dispatcher.ready) == len(members))
        yield kept, dispatcher
    finally:
        await kept.close()


def give(dispatcher: Dispatcher, request_id: str) -> str:
    """Let somebody have a request; return who."""
    dispatcher.submit(Request(request_id, 0.0, 10, Slo(ttft=1.0)))
    (binding,) = dispatcher.release()
    return binding.replica.name


def states(dispatcher: Dispatcher) -> dict[str, str]:
    return {replica.name: replica.state for replica in dispatcher.replicas}


def test_who_is_named_again_before_it_has_left_comes_back_with_what_it_has() -> None:
    """At once: neither does it wait until it has finished, nor until it is looked at next."""

    async def main() -> None:
        async with having(member("a")) as (members, dispatcher):
            assert give(dispatcher, "r") == "a"
            (replica,) = dispatcher.replicas
            members.configure([])
            await until(lambda: states(dispatcher) == {"a": "draining"})
            members.configure([member("a")])
            await until(lambda: states(dispatcher) == {"a": "ready"})
            assert dispatcher.replicas == (replica,)
            assert set(replica.given) == {"r"}

    asyncio.run(main())


def test_who_is_to_be_another_comes_once_the_old_one_has_left() -> None:
    """Nobody else has to wait for that."""

    async def main() -> None:
        async with having(member("a")) as (members, dispatcher):
            give(dispatcher, "r")
            members.configure([member("a", max_num_seqs=7)])
            members.configure([member("a", max_num_seqs=9), member("b")])
            await until(lambda: states(dispatcher) == {"a": "draining", "b": "ready"})
            dispatcher.on_end("r")
            await until(lambda: states(dispatcher) == {"b": "ready", "a": "ready"})
            assert dispatcher.replicas[1].limits.max_num_seqs == 9

    asyncio.run(main())


def test_who_is_not_to_come_back_after_all_does_not() -> None:
    async def main() -> None:
        async with having(member("a")) as (members, dispatcher):
            give(dispatcher, "r")
            members.configure([member("a", max_num_seqs=7)])
            members.configure([])
            members.configure([member("b")])
            await until(lambda: states(dispatcher) == {"a": "draining", "b": "ready"})
            dispatcher.on_end("r")
            await until(lambda: states(dispatcher) == {"b": "ready"})
            await asyncio.sleep(0.3)
            assert states(dispatcher) == {"b": "ready"}

    asyncio.run(main())


def test_whom_somebody_else_named_is_not_concerned() -> None:
    async def main() -> None:
        async with having(member("a")) as (members, dispatcher):
            members.configure([member("b")], "kubernetes")
            await members.add(member("c"), "admin")
            await until(lambda: set(states(dispatcher)) == {"a", "b", "c"})
            members.configure([], "kubernetes")
            await until(lambda: set(states(dispatcher)) == {"a", "c"})
            members.configure([])
            await until(lambda: set(states(dispatcher)) == {"c"})

    asyncio.run(main())
