"""A real vLLM server with our scheduler, for as long as a block lasts."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic

import aiohttp
from common import note

PATIENCE_S = 300.0
FLAGS = {
    "served-model-name": "live",
    "max-model-len": "2048",
    "max-num-batched-tokens": "256",
    "scheduler-cls": "slosched.vllm.SloScheduler",
    "middleware": "slosched.vllm.SloMiddleware",
    "host": "127.0.0.1",
}
CPU_FLAGS = ("--dtype=float32", "--enforce-eager", "--block-size=32")


def check_model(model: Path) -> None:
    """End with what to type if there is no model in a folder."""
    if not (model / "config.json").exists():
        raise SystemExit(f"error: no model in {model}: scripts/prepare_model.py {model}")


@contextlib.asynccontextmanager
async def serving(model: Path, config: str, slots: int) -> AsyncIterator[str]:
    """Run the server under a configuration; yields its address once it answers.

    Parameters
    ----------
    model
        Absolute path of its folder: the server runs in another one.

    Raises
    ------
    SystemExit
        If it ends by itself, or is not ready in time; its log goes to stderr.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="slosched-live-") as folder:
        written, log = Path(folder) / "slosched.yaml", Path(folder) / "log"
        written.write_text(config, encoding="utf-8")
        flags = FLAGS | {
            "model": str(model),
            "max-num-seqs": str(slots),
            "port": str(port),
        }
        command = [sys.executable, "-m", "slosched.vllm.launch"]
        command += [f"--{name}={value}" for name, value in flags.items()]
        command += [] if _has_gpu() else CPU_FLAGS
        environ = {k: v for k, v in os.environ.items() if k != "PROMETHEUS_MULTIPROC_DIR"}
        environ |= {"HF_HUB_OFFLINE": "1", "SLOSCHED_CONFIG": str(written)}
        with log.open("wb") as output:
            server = await asyncio.create_subprocess_exec(
                *command,
                stdout=output,
                stderr=output,
                env=environ,
                cwd=folder,
                start_new_session=True,
            )
        try:
            await _ready(f"http://127.0.0.1:{port}", server, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            await _stop(server)


async def _ready(url: str, server: asyncio.subprocess.Process, log: Path) -> None:
    deadline = monotonic() + PATIENCE_S
    async with aiohttp.ClientSession() as session:
        while server.returncode is None and monotonic() < deadline:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"{url}/health") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.5)
    note(log.read_text(encoding="utf-8", errors="replace")[-20_000:])  # noqa: ASYNC240 - nothing else runs
    raise SystemExit("error: vLLM did not start")


async def _stop(server: asyncio.subprocess.Process) -> None:
    """End the server and whatever it started, politely at first."""
    for how, patience in ((signal.SIGTERM, 30.0), (signal.SIGKILL, 10.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, how)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(server.wait(), patience)
            return


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())
