"""Policies on a real engine: the same bursts of real prompts, round by round."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import orjson
import typer
from common import FOLDER, Json, Measure, Quick, Seed, finish, note, run, save
from sources import sharegpt
from vllm_server import check_model, serving

from slosched import Request, Slo, SloClass, TracedRequest
from slosched.bench import live as bench
from slosched.bench.compose import Endpoint
from slosched.bench.result import arrays, complaints
from slosched.traces import read

MODEL = FOLDER.parent / ".cache" / "smollm2-135m-instruct"
POLICIES = ("fcfs", "priority", "edf", "sjf", "planned")
LIMITS = {"interactive": Slo(ttft=3.0), "completion": Slo(e2e=5.0), "batch": Slo(e2e=30.0)}
CLASSES = {name: SloClass(name, slo) for name, slo in LIMITS.items()}
PRIORITY = {"interactive": 2, "completion": 1, "batch": 0}
ANSWER_TOKENS = {"interactive": (8, 24), "completion": (8, 24), "batch": (96, 160)}
SHARES = {"interactive": 0.45, "completion": 0.30, "batch": 0.25}
BURSTS, BURST_SIZE, BURST_EVERY_S, SLOTS = 4, 30, 5.0, 8
BAR_POINTS = 5.0
CONFIG = """\
classes:
  interactive: {{ttft_ms: 3000}}
  completion: {{e2e_ms: 5000}}
  batch: {{e2e_ms: 30000}}
engine: {{profile: cpu-smollm2-135m}}
predictor: {{kind: declared}}
policy: {{kind: {policy}}}
"""


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Each with other prompts.")] = 5,
    policy: Annotated[list[str] | None, typer.Option(help="As often as wanted.")] = None,
    model: Annotated[
        Path, typer.Option(help="Folder that scripts/prepare_model.py wrote.")
    ] = MODEL,
    seed: Seed = 0,
    quick: Quick = False,
    json: Json = None,
) -> None:
    """Serve bursts of ShareGPT prompts with vLLM under one policy after the other.

    120 prompts in 4 bursts, 5 s apart, 8 slots. Three quarters have 8 to 24 output tokens: 54
    are interactive (TTFT 3 s), 36 completions (5 s from end to end); a quarter are batch jobs of
    96 to 160 tokens (30 s). Lengths are exact (ignore_eos), and known to all policies alike; for
    `priority`, interactive goes before completion before batch. Every policy of a round gets the
    same requests, and a server started afresh. With --json, what is there already is not run
    again: an interrupted run goes on where it stopped.
    """
    check_model(model)
    policies = tuple(policy or POLICIES)
    burst = BURST_SIZE
    if quick:
        rounds, policies, burst = 1, policies[-1:], 4
    runs = _finished(json, seed, burst)
    for number in range(rounds):
        trace = workload(seed + number, burst)
        # Another goes first in every round: machines warm up, and tire.
        for name in np.roll(policies, -number).tolist():
            if any((r["round"], r["policy"]) == (number, name) for r in runs):
                continue
            answers = asyncio.run(_serve(model.resolve(), name, trace))
            runs.append(_summary(number, name, answers))
            note(f"round {number + 1}, {name}: {runs[-1]['attainment']:.1f}% of SLOs met")
            if json is not None:
                save([], json, {"seed": seed, "burst": burst, "runs": runs})
    chosen = [r for r in runs if r["round"] < rounds and r["policy"] in policies]
    finish(measures(chosen), quick, json, {"seed": seed, "burst": burst, "runs": runs})


def workload(seed: int, burst: int = BURST_SIZE) -> list[TracedRequest]:
    """Draw prompts of 8 to 200 tokens, a class and an exact length for each."""
    rng = np.random.default_rng(seed)
    prompts = _prompts()
    n = BURSTS * burst
    chosen = rng.choice(len(prompts), n, replace=False)
    names = np.repeat(list(SHARES), np.rint(np.array(list(SHARES.values())) * n).astype(int))
    trace = []
    for i, (index, name) in enumerate(zip(chosen, rng.permutation(names).tolist(), strict=True)):
        low, high = ANSWER_TOKENS[name]
        tokens = int(rng.integers(low, high + 1))
        prompt, at = prompts[index], i // burst * BURST_EVERY_S
        request = Request(
            str(i), at, len(prompt.split()), LIMITS[name], name,
            priority=PRIORITY[name], prompt=prompt,
        )  # fmt: skip
        trace.append(TracedRequest(request, tokens))
    return trace


def measures(runs: list[dict[str, Any]]) -> Iterable[Measure]:
    """Compare mean attainment; the bar is on planned against the best of the others."""
    policies = list(dict.fromkeys(r["policy"] for r in sorted(runs, key=lambda r: r["policy"])))
    means = {}
    for name in policies:
        rows = sorted((r for r in runs if r["policy"] == name), key=lambda r: r["round"])
        means[name] = float(np.mean([r["attainment"] for r in rows]))
        each = ", ".join(f"{r['attainment']:.1f}" for r in rows)
        yield Measure(f"{name}: SLOs met, %", f"{means[name]:.1f} ({each})")
        latency = float(np.mean([r["mean_latency_s"] for r in rows]))
        yield Measure(f"{name}: mean latency, s", f"{latency:.1f}")
    others = {name: mean for name, mean in means.items() if name != "planned"}
    if "planned" in means and others:
        best = max(others, key=others.__getitem__)
        lead = means["planned"] - others[best]
        figure, bar = f"{lead:+.1f}", f">= +{BAR_POINTS:g}"
        yield Measure(f"planned against {best}, points", figure, bar, lead >= BAR_POINTS)


async def _serve(model: Path, policy: str, trace: list[TracedRequest]) -> dict[str, list[Any]]:
    note(f"starting vLLM, {policy}")
    async with serving(model, CONFIG.format(policy=policy), SLOTS) as url:
        target = bench.Target(url, endpoint=Endpoint.chat, warm_up=2)
        replay = (await bench.run(target, trace, CLASSES)).replay
    if replay.interrupted:
        raise KeyboardInterrupt
    for kind, said in complaints(replay).items():
        raise SystemExit(f"error: the server answered {kind}: {said}")
    return arrays(trace, replay)


def _summary(number: int, policy: str, answers: dict[str, list[Any]]) -> dict[str, Any]:
    met, names = np.array(answers["slo_met"]), np.array(answers["slo_classes"])
    rows = zip(answers["slo_classes"], answers["ttfts_ms"], answers["e2els_ms"], strict=True)
    return {
        "round": number,
        "policy": policy,
        "attainment": 100 * float(met.mean()),
        "per_class": {name: 100 * float(met[names == name].mean()) for name in LIMITS},
        "mean_latency_s": float(np.mean(answers["e2els_ms"])) / 1e3,
        "mean_ttft_s": float(np.mean(answers["ttfts_ms"])) / 1e3,
        "answers": [
            {"slo_class": name, "ttft": ttft / 1e3, "e2e": e2e / 1e3} for name, ttft, e2e in rows
        ],
    }


def _finished(file: Path | None, seed: int, burst: int) -> list[dict[str, Any]]:
    """Read what an interrupted run has left, if it was of the same requests."""
    if file is None or not file.exists():
        return []
    details = orjson.loads(file.read_bytes())["details"]
    if (details["seed"], details["burst"]) != (seed, burst):
        raise SystemExit(f"error: {file} is of other requests; name another file")
    found: list[dict[str, Any]] = details["runs"]
    note(f"{len(found)} runs are in {file} already")
    return found


def _prompts() -> list[str]:
    records = read(sharegpt(), limit=4000)
    return [r.prompt for r in records if r.prompt and 8 <= r.input_tokens <= 200]


if __name__ == "__main__":
    run(main)
