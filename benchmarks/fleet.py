"""Who gets a request: our assignment beside the others, by real HTTP before simulated engines."""

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import Annotated

import numpy as np
import typer
from common import Json, Measure, Quick, Seed, finish, note, run
from mix import Mix, Traces
from replicas import ask, attained, engines, gateway, trace_of

from slosched.client.answer import Answer
from slosched.client.connection import Connection
from slosched.core.request import TracedRequest

ASSIGNMENTS = (
    "planned", "fewest_outstanding", "largest_memory", "power_of_two", "prefix_affinity",
    "round_robin",
)  # fmt: skip


def main(
    traces: Traces = None,
    assignment: Annotated[list[str] | None, typer.Option(help="As often as wanted.")] = None,
    limit: Annotated[int, typer.Option(min=10, help="Requests of each kind.")] = 200,
    load: Annotated[float, typer.Option(help="Of what all replicas can serve.")] = 1.5,
    rounds: Annotated[int, typer.Option(min=1, help="Each with other classes.")] = 1,
    scheduler: Annotated[str, typer.Option(help="Of the engines.")] = "vllm-fcfs",
    seed: Seed = 0,
    quick: Quick = False,
    json: Json = None,
) -> None:
    """Replay a mix against four simulated engines of different speed behind the gateway.

    Engines of 16 slots, 2, 3, 4 and 6 times as slow as the mix's profile, each a process of its
    own, as is the gateway; which knows their profiles, and lengths by `history` alone. Each
    assignment of a round gets the same requests, and processes started afresh.
    """
    chosen, limit = assignment or list(ASSIGNMENTS), 15 if quick else limit
    details = []
    for number in range(rounds):
        trace = trace_of(Mix(traces, limit), load, seed + number)
        for kind in chosen:
            one = asyncio.run(_served(trace, kind, scheduler))
            note(f"round {number + 1}, {kind}: {one}")
            details.append({"round": number, "assignment": kind, **one})
    shares = {kind: [d["attained"] for d in details if d["assignment"] == kind] for kind in chosen}
    best = max((np.mean(v) for kind, v in shares.items() if kind != "planned"), default=0.0)
    measures = []
    for kind, kept in shares.items():
        met = bool(np.mean(kept) > best) if kind == "planned" else None
        text = f"{100 * np.mean(kept):.1f}% ({', '.join(f'{100 * k:.1f}' for k in kept)})"
        measures.append(Measure(kind, text, "above all others" if met is not None else "", met))
    finish(measures, quick, json, details)


async def _served(
    trace: Sequence[TracedRequest], assignment: str, scheduler: str
) -> dict[str, float]:
    """Replay the trace, open loop; return what came of it."""
    async with (
        engines(scheduler) as replicas,
        gateway(replicas, f"fleet.assignment={{kind: {assignment}}}") as front_end,
        Connection(front_end.url) as connection,
    ):
        answers = [Answer() for _ in trace]
        began = monotonic() + 1.0
        await asyncio.gather(
            *(
                ask(connection, number, traced, answers[number], began)
                for number, traced in enumerate(trace)
            )
        )
    return _sum_up(trace, answers)


def _sum_up(trace: Sequence[TracedRequest], answers: Sequence[Answer]) -> dict[str, float]:
    kept = sum(attained(traced, answer) for traced, answer in zip(trace, answers, strict=True))
    whole = [answer for answer in answers if not answer.error]
    return {
        "attained": kept / len(trace),
        "failed": len(trace) - len(whole),
        "mean_e2e_s": float(np.mean([answer.times[-1] - answer.sent for answer in whole])),
    }


if __name__ == "__main__":
    run(main)
