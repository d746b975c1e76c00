"""Requests of several deadlines through Envoy, and in which order they reached the replicas."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from itertools import combinations, islice
from pathlib import Path
from random import Random
from typing import Literal
from unittest.mock import patch

import aiohttp

from slosched.core.fleet import FleetSolver
from slosched_server.picker.dialogue import Dialogue
from slosched_server.upstream import RawHeaders
from tests.picker.desks import REAL, Picker, desk, listening
from tests.picker.envoy import envoy
from tests.picker.replicas import SLOTS, Replica, replicas

CLASSES = 8  # one for each deadline
TOKENS = 4
_FIRST_S, _APART_S = 600, 300
_LONGEST_S = 300.0
_BATCH = 50


Event = tuple[Literal["sent", "arrived"], int]


@dataclass(frozen=True)
class Order:
    """Who was where, by replica: numbers of requests.

    Parameters
    ----------
    bound, sent, arrived
        In the order in which the core bound them, Envoy was told, and they came.
    events
        All sendings and arrivals, one after the other.
    deadlines
        Of each request by its number, its class; None of those that hold slots at first.
    """

    bound: Sequence[Sequence[int]]
    sent: Sequence[Sequence[int]]
    arrived: Sequence[Sequence[int]]
    events: Sequence[Event]
    deadlines: Sequence[int | None]

    @property
    def displaced(self) -> int:
        """How many did not come at the place at which they were bound."""
        return sum(at != was for at, was in self._places())

    @property
    def furthest(self) -> int:
        """By how many places at most."""
        return max(abs(at - was) for at, was in self._places())

    @property
    def inversions(self) -> tuple[int, int]:
        """How many pairs came to a replica the later deadline first.

        The second number is of those that were not in flight together: the earlier deadline was
        sent when the later one had come.
        """
        at = {event: place for place, event in enumerate(self.events)}
        pairs = [pair for arrived in self.arrived for pair in self._inverted(arrived)]
        beyond = [at["sent", late] > at["arrived", first] for first, late in pairs]
        return len(pairs), sum(beyond)

    def _places(self) -> Iterator[tuple[int, int]]:
        for bound, arrived in zip(self.bound, self.arrived, strict=True):
            was = {number: place for place, number in enumerate(bound)}
            yield from ((place, was[number]) for place, number in enumerate(arrived))

    def _inverted(self, arrived: Sequence[int]) -> Iterator[tuple[int, int]]:
        due = [(number, self.deadlines[number]) for number in arrived]
        for (first, its), (late, earlier) in combinations(due, 2):
            if its is not None and earlier is not None and earlier < its:
                yield first, late


async def order(
    folder: Path,
    requests: int,
    *,
    shows_answers: bool,
    at_once: int | None = None,
    solver: FleetSolver | None = None,
    number: int = 4,
    seed: int = 0,
) -> Order:
    """Ask so many times, and return who was where.

    Parameters
    ----------
    at_once
        How many clients there are, each of which asks again once it is answered. By default all
        ask before any slot is free, and the plan knows everybody: then deadlines are its order.
    solver
        Of the plans; that which ships by default.
    """
    classes = ",".join(f"d{k}: {{e2e_ms: {1000 * _due(k)}}}" for k in range(CLASSES))
    named = f"classes={{{classes}}}", "default_class=d0"
    overrides = (
        *named, f"fleet.max_waiting={requests + 99}",
        "fleet.probe_every_s=5",
    )  # fmt: skip
    events: list[Event] = []
    rng, fillers = Random(seed), 0 if at_once else number * SLOTS
    deadlines = [None] * fillers + [rng.randrange(CLASSES) for _ in range(requests)]
    async with AsyncExitStack() as stack:
        stack.enter_context(_noted(events))
        engines = await stack.enter_async_context(
            replicas(
                folder,
                number,
                *named,
                is_open=at_once is not None,
                came=lambda each: events.append(("arrived", int(each))),
            )
        )
        urls, addresses = [one.url for one in engines], [one.address for one in engines]
        picker = await stack.enter_async_context(
            desk(*overrides, urls=urls, slots=SLOTS, connect=REAL, solver=solver)
        )
        bindings = picker.bindings()
        asked, _, _ = await stack.enter_async_context(listening(picker))
        proxy = await stack.enter_async_context(
            envoy(folder, [asked], addresses, shows_answers=shows_answers)
        )
        connector = aiohttp.TCPConnector(limit=0)
        client = await stack.enter_async_context(
            aiohttp.ClientSession(
                proxy.url, connector=connector, timeout=aiohttp.ClientTimeout(_LONGEST_S)
            )
        )
        if at_once is None:
            await _held(client, picker, engines, deadlines)
        else:
            waiting = iter(range(requests))
            async with asyncio.TaskGroup() as group:
                for _ in range(at_once):
                    group.create_task(_worker(client, waiting, deadlines))
        await picker.until_empty()
        numbers = {job.progress.queued_as: int(job.request_id) for job in picker.told.jobs}
        bound: list[list[int]] = [[] for _ in engines]
        for binding in bindings:
            bound[int(binding.replica.name[1:])].append(numbers[binding.request_id])
        where = {each: i for i, these in enumerate(bound) for each in these}
        sent: list[list[int]] = [[] for _ in engines]
        for what, each in events:
            if what == "sent":
                sent[where[each]].append(each)
        arrived = [[int(each) for each in one.arrived] for one in engines]
        return Order(bound, sent, arrived, events, deadlines)


@contextmanager
def _noted(events: list[Event]) -> Iterator[None]:
    """Note whenever Envoy is told where a request goes."""
    send = Dialogue.send

    async def noted(self: Dialogue, endpoints: str, headers: RawHeaders, body: bytes) -> None:
        events.append(("sent", int(dict(headers)[b"x-request-id"])))
        await send(self, endpoints, headers, body)

    with patch.object(Dialogue, "send", noted):
        yield


def _due(k: int) -> int:
    return _FIRST_S + k * _APART_S


async def _held(
    client: aiohttp.ClientSession,
    picker: Picker,
    engines: Sequence[Replica],
    deadlines: Sequence[int | None],
) -> None:
    """Let some hold all slots until all others wait, and the plan in force knows them all."""
    fillers = len(engines) * SLOTS
    async with asyncio.TaskGroup() as group:
        for number in range(fillers):
            group.create_task(_ask(client, number, None))
        await picker.until(lambda: sum(len(one.arrived) for one in engines) == fillers)
        for number, deadline in islice(enumerate(deadlines), fillers, None):
            group.create_task(_ask(client, number, deadline))
            if number % _BATCH == 0:  # clients and the picker share a loop
                await picker.until_waiting(number - fillers + 1)
        await picker.until_waiting(len(deadlines) - fillers)
        outlook = picker.dispatcher.outlook
        ids = [job.progress.queued_as for job in picker.told.jobs[fillers:]]
        await picker.until(lambda: all(outlook(each) is not None for each in ids))
        for one in engines:
            one.open.set()


async def _worker(
    client: aiohttp.ClientSession, waiting: Iterator[int], deadlines: Sequence[int | None]
) -> None:
    for number in waiting:
        await _ask(client, number, deadlines[number])


async def _ask(client: aiohttp.ClientSession, number: int, deadline: int | None) -> None:
    headers = {"x-request-id": f"{number}", "x-slo-class": f"d{deadline or 0}"}
    body = {
        "prompt": "p", "max_tokens": TOKENS, "ignore_eos": True, "stream": number % 2 == 0,
    }  # fmt: skip
    async with client.post("/v1/completions", json=body, headers=headers) as got:
        assert got.status == 200, (got.status, await got.text(), got.headers)
        await got.read()
