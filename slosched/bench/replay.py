"""The open loop: requests go out at their times, whatever the server does."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from time import monotonic

from slosched.bench.compose import Composer
from slosched.bench.lag import watch
from slosched.bench.tally import Tally
from slosched.client.answer import DISCONNECTED, UNFINISHED, UNREACHABLE, Answer
from slosched.client.connection import Call, Connection
from slosched.core.errors import ServerError
from slosched.core.request import TracedRequest
from slosched.sim.records import Spread

_LEAD_S = 0.1  # before the first request, that it is no later than the rest
_LAST_CHANCE_S = 5.0  # for what is in flight once the server is gone
_KNOCKS = 3


@dataclass(slots=True)
class Replay:
    """What came back.

    Attributes
    ----------
    started
        When second 0 of the trace was, on the clock of the answers.
    answers
        One for each request, in order; None for one that was never sent.
    late
        Seconds from when a request should have gone out to when it did.
    client_lag
        Seconds by which the client's event loop was late.
    interrupted
        Whether it was stopped before its end.
    """

    started: float
    answers: list[Answer | None]
    late: Spread = field(default_factory=Spread)
    client_lag: Spread = field(default_factory=Spread)
    interrupted: bool = False


class OpenLoop:
    """Sends the requests of a trace; good for one replay.

    Parameters
    ----------
    connection, composer
        Where to, and how they are written.
    max_concurrency
        The most requests in flight; None for no bound. The latency of those that wait for it
        counts from when they should have gone out all the same.
    timeout_s
        After which a request is given up; None for never.
    changed
        Called with the tally after each change.
    """

    def __init__(
        self,
        connection: Connection,
        composer: Composer,
        max_concurrency: int | None = None,
        timeout_s: float | None = None,
        changed: Callable[[Tally], None] = lambda _: None,
    ) -> None:
        self._connection = connection
        self._composer = composer
        self._slots = asyncio.Semaphore(max_concurrency) if max_concurrency else nullcontext()
        self._timeout_s = timeout_s
        self._changed = changed
        self._tally = Tally()
        self._halt = asyncio.Event()
        self._server_gone = False
        self._knocking = asyncio.Lock()

    def stop(self) -> None:
        """Send nothing more, and hang up on what is in flight."""
        self._halt.set()

    async def run(self, trace: Sequence[TracedRequest]) -> Replay:
        """Replay a trace, in order of arrival, to its end, or until stopped or the server is gone.

        Once it is gone, what was not answered has failed: nobody waits for the rest's times.
        """
        first = trace[0].request.arrival if trace else 0.0
        replay = Replay(monotonic() + _LEAD_S - first, [None] * len(trace))
        lag = asyncio.create_task(watch(replay.client_lag))
        flights: list[asyncio.Task[None]] = []
        try:
            for i, traced in enumerate(trace):
                call = self._composer.call(traced)  # before its time, as it takes some
                due = replay.started + traced.request.arrival
                if await self._halted_before(due):
                    break
                replay.late.add(max(monotonic() - due, 0.0))
                answer = replay.answers[i] = Answer()
                flights.append(asyncio.create_task(self._fly(traced, call, answer, due)))
            await self._land(flights)
        finally:
            lag.cancel()
        if self._server_gone:
            self._give_up(trace, replay)
        replay.interrupted = self._halt.is_set() and not self._server_gone
        return replay

    async def _halted_before(self, due: float) -> bool:
        """Wait until it is time; tell whether to stop instead."""
        delay = due - monotonic()
        if delay <= 0:
            await asyncio.sleep(0)  # what came back is read meanwhile
            return self._halt.is_set()
        try:
            await asyncio.wait_for(self._halt.wait(), delay)
        except TimeoutError:
            return False
        return True

    async def _fly(self, traced: TracedRequest, call: Call, answer: Answer, due: float) -> None:
        async with self._slots:
            self._tally.sent += 1
            self._changed(self._tally)
            await self._connection.stream(call, answer, self._timeout_s)
        if not answer.error and not answer.counted and answer.finish_reason == "length":
            answer.settle(traced.output_tokens)
        self._tally.ended(traced, answer, due)
        self._changed(self._tally)
        if answer.error in (UNREACHABLE, DISCONNECTED):
            await self._knock()

    async def _knock(self) -> None:
        """Find out whether the server is gone for good."""
        async with self._knocking:
            for _ in range(_KNOCKS):
                if self._halt.is_set():
                    return
                try:
                    await self._connection.get("/v1/models")
                except ServerError:
                    await asyncio.sleep(0.5)
                else:
                    return
            self._server_gone = True
            self._halt.set()

    async def _land(self, flights: Sequence[asyncio.Task[None]]) -> None:
        """Wait for what is in flight; once halted, hang up."""
        if not flights:
            return
        landed = asyncio.ensure_future(asyncio.wait(flights))
        halted = asyncio.ensure_future(self._halt.wait())
        await asyncio.wait({landed, halted}, return_when=asyncio.FIRST_COMPLETED)
        if self._server_gone:
            await asyncio.wait({landed}, timeout=_LAST_CHANCE_S)
        for flight in flights:
            flight.cancel()
        halted.cancel()
        await landed
        for flight in flights:
            if not flight.cancelled():
                flight.result()  # raises what nobody expected

    def _give_up(self, trace: Sequence[TracedRequest], replay: Replay) -> None:
        """Count as failed what the server did not answer, or was not even sent."""
        for i, (traced, answer) in enumerate(zip(trace, replay.answers, strict=True)):
            if answer is not None and answer.over and answer.error != UNFINISHED:
                continue
            if answer is None or not answer.over:
                self._tally.sent += 1
                answer = replay.answers[i] = Answer(over=True)  # noqa: PLW2901 - the one it gets
            answer.fail(UNREACHABLE, "the server was gone")
            self._tally.ended(traced, answer, replay.started + traced.request.arrival)
        self._changed(self._tally)
