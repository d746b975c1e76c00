"""What a predictor beside a real engine costs it: the same bursts, with and without one."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from common import Json, Measure, Quick, Seed, at_most, finish, note, run, track
from live import MODEL, workload
from vllm_server import check_model, serving

from slosched import Slo, SloClass, TracedRequest
from slosched.bench import live as bench
from slosched.bench.compose import Endpoint
from slosched.bench.result import arrays
from slosched.client.connection import Connection
from slosched.client.server import metrics, total

SLOTS, TOKENS, BAR = 8, 96, 2.0
LIMIT = Slo(e2e=600.0)
# All answers have the same length: in whatever order, there are as many steps.
CONFIG = """\
classes: {{any: {{e2e_ms: 600000}}}}
engine: {{profile: cpu-smollm2-135m}}
policy: {{kind: sjf}}
planner: {{repredict_tokens: 25}}
predictor: {predictor}
"""
READ = "slosched_prediction_seconds_count"


def main(
    model: Annotated[str, typer.Option(help="Of slosched train; folder or name.")],
    encoder: Annotated[str, typer.Option(metavar="NAME|FOLDER", help="That it was trained for.")],
    rounds: Annotated[int, typer.Option(min=2, help="Of either, in turns.")] = 6,
    served: Annotated[
        Path, typer.Option(help="Folder that scripts/prepare_model.py wrote.")
    ] = MODEL,
    seed: Seed = 0,
    quick: Quick = False,
    json: Json = None,
) -> None:
    """Serve bursts of 24 prompts, 96 tokens each, 8 at a time, by two servers in turns.

    One predicts lengths by experience, the other by an encoder that reads every prompt, and its
    answer every 25 tokens. A round's steps are the same for both.
    """
    check_model(served)
    rounds = 2 if quick else rounds
    given = f"{{kind: encoder, model: {_place(model)}, encoder: {_place(encoder)}}}"
    predictors = {"history": "{kind: history}", "encoder": given}
    seconds, read = asyncio.run(_measure(served.resolve(), predictors, rounds, seed))
    ratios = np.array(seconds["encoder"]) / np.array(seconds["history"])
    growth = 100 * (float(np.median(ratios)) - 1)
    finish(
        [
            Measure("texts that were read", f"{read:.0f}", "> 0", read > 0),
            Measure(
                "seconds of a round, by experience / by the encoder",
                f"{np.median(seconds['history']):.2f} / {np.median(seconds['encoder']):.2f}",
            ),
            at_most("an engine's step grows by, %, median of rounds", growth, BAR),
        ],
        quick,
        json,
        {"seconds": seconds, "read": read},
    )


def _place(name: str) -> str:
    """Absolute path of a folder: servers run in another one."""
    path = Path(name).expanduser()
    return str(path.resolve()) if path.exists() else name


async def _measure(
    served: Path, predictors: dict[str, str], rounds: int, seed: int
) -> tuple[dict[str, list[float]], float]:
    seconds: dict[str, list[float]] = {name: [] for name in predictors}
    async with AsyncExitStack() as stack:
        urls = {}
        for name, predictor in predictors.items():
            note(f"starting vLLM, {name}")
            config = CONFIG.format(predictor=predictor)
            urls[name] = await stack.enter_async_context(serving(served, config, SLOTS))
        for number in track(range(rounds + 1), "rounds"):
            names = list(urls) if number % 2 else list(urls)[::-1]
            for name in names:
                took = await _round(urls[name], _burst(seed + number))
                if number:  # the first one warms up
                    seconds[name].append(took)
        return seconds, await _count(urls["encoder"])


def _burst(seed: int) -> list[TracedRequest]:
    drawn = workload(seed, 3 * SLOTS)[: 3 * SLOTS]
    return [
        TracedRequest(replace(traced.request, slo=LIMIT, slo_class="any", priority=0), TOKENS)
        for traced in drawn
    ]


async def _round(url: str, trace: list[TracedRequest]) -> float:
    """Return the seconds until the last answer ended."""
    target = bench.Target(url, endpoint=Endpoint.chat, warm_up=0)
    replay = (await bench.run(target, trace, {"any": SloClass("any", LIMIT)})).replay
    return float(np.max(arrays(trace, replay)["e2els_ms"])) / 1e3


async def _count(url: str) -> float:
    """Return how many texts the server's predictor has read."""
    async with Connection(url) as connection:
        return total(await metrics(connection), READ) or 0.0


if __name__ == "__main__":
    run(main)
