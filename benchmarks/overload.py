"""Overload: three times what four replicas can serve, for minutes, and who keeps what then."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from time import monotonic
from typing import Annotated

import numpy as np
import psutil
import typer
from common import Json, Measure, Quick, Seed, at_least, at_most, finish, note, run
from mix import Mix, Traces
from replicas import ask, attained, engines, gateway, trace_of

from slosched.client.answer import SHED, Answer
from slosched.client.connection import Connection
from slosched.core.request import TracedRequest

_TICK_S = 1.0
_EXPIRED = "waited in vain"
_OF_ALL = 400  # requests of each kind, of which a minute is made


def main(
    traces: Traces = None,
    load: Annotated[float, typer.Option(help="Of what all replicas can serve.")] = 3.0,
    seconds: Annotated[float, typer.Option(min=5, help="Of overload.")] = 300.0,
    seed: Seed = 0,
    quick: Quick = False,
    json: Json = None,
) -> None:
    """Offer a mix to the gateway, all of whose classes say `overload: reject`.

    Four simulated engines of different speed, processes of their own as is the gateway. Memory is
    the gateway's resident set: the median of the last quarter of the time against that of the
    second. Who is admitted is whoever was not refused when it came, also if its limit passed in
    the queue; who was refused is timed by its client, which shares the machine.
    """
    seconds = 8.0 if quick else seconds
    trace = _repeated(trace_of(Mix(traces, 40 if quick else _OF_ALL), load, seed), seconds)
    note(f"{len(trace)} requests in {seconds:.0f} s")
    served = asyncio.run(_served(trace))
    finish(_measures(trace, served), quick, json, {"resident_mb": served.memory})


def _repeated(trace: Sequence[TracedRequest], seconds: float) -> list[TracedRequest]:
    """Repeat a trace until the time is full."""
    period = trace[-1].request.arrival + trace[-1].request.arrival / len(trace)
    rounds = range(int(seconds / period) + 1)
    whole = [
        replace(t, request=replace(t.request, arrival=t.request.arrival + period * i))
        for i in rounds
        for t in trace
    ]
    return [t for t in whole if t.request.arrival < seconds]


async def _served(trace: Sequence[TracedRequest]) -> "_Served":
    rejects = [f"classes.{name}.overload=reject" for name in ("chat", "code", "batch")]
    async with (
        engines("vllm-fcfs") as replicas,
        gateway(replicas, *rejects) as front_end,
        Connection(front_end.url) as connection,
    ):
        served = _Served([Answer() for _ in trace], [0.0] * len(trace))
        watching = asyncio.create_task(served.watch(psutil.Process(front_end.process.pid)))
        began = monotonic() + 1.0

        async def timed(number: int, traced: TracedRequest) -> None:
            await ask(connection, number, traced, served.answers[number], began)
            served.ended[number] = monotonic()

        asking: set[asyncio.Task[None]] = set()
        for number, traced in enumerate(trace):  # not all at once: their bodies are gigabytes
            await asyncio.sleep(max(began + traced.request.arrival - monotonic(), 0.0))
            task = asyncio.create_task(timed(number, traced))
            asking.add(task)
            task.add_done_callback(asking.discard)
        await asyncio.gather(*asking)
        watching.cancel()
    return served


@dataclass(frozen=True)
class _Served:
    """What came back, when it was over, and the gateway's memory all the while, in MB."""

    answers: list[Answer]
    ended: list[float]
    memory: list[float] = field(default_factory=list)

    async def watch(self, process: psutil.Process) -> None:
        while True:
            self.memory.append(process.memory_info().rss / 1e6)
            await asyncio.sleep(_TICK_S)


def _measures(trace: Sequence[TracedRequest], served: _Served) -> list[Measure]:
    answers, memory = served.answers, served.memory
    shed = [i for i, a in enumerate(answers) if a.error == SHED and _EXPIRED not in a.detail]
    expired = sum(a.error == SHED and _EXPIRED in a.detail for a in answers)
    failed = sum(answer.error not in ("", SHED) for answer in answers)
    out = set(shed)
    pairs = enumerate(zip(trace, answers, strict=True))
    admitted = [pair for i, pair in pairs if i not in out]
    kept = sum(attained(traced, answer) for traced, answer in admitted)
    waits = 1e3 * np.array([served.ended[i] - answers[i].sent for i in shed])
    quarter = len(memory) // 4
    before, after = (median(memory[at : at + quarter]) for at in (quarter, 3 * quarter))
    return [
        Measure("offered, admitted", f"{len(trace)}, {len(admitted)}"),
        Measure("of these expired in the queue, failed", f"{expired}, {failed}"),
        at_least("% of the admitted whose SLO was kept", 100 * kept / len(admitted), 95.0),
        Measure("SLOs kept, % of all offered", f"{100 * kept / len(trace):.1f}"),
        Measure("refused: ms to the 429, median and p99",
                f"{np.median(waits):.1f}, {np.percentile(waits, 99):.1f}"),
        Measure("refused: % told within 50 ms", f"{100 * np.mean(waits < 50):.2f}"),
        at_most("refused: ms to the 429, most", float(waits.max()), 50.0),
        at_most("gateway's memory, last quarter over the second", after / before, 1.05, "{:.3f}"),
    ]  # fmt: skip


if __name__ == "__main__":
    run(main)
