"""A replica that is killed under load: real processes, SIGKILL, and an account of every request."""

import asyncio
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from slosched.client.connection import Connection
from slosched.client.server import metrics
from tests.server.fleet import COMPLETIONS, fleet
from tests.simulated_engine.serve import PROFILE

REQUESTS, TOKENS = 45, 40
BROKE_OFF, DONE = b"engine_broke_off", b"data: [DONE]"


@asynccontextmanager
async def engine(profile: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Start a simulated engine of four slots; gives the process and its URL."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "slosched", "simulated-engine", "--port", "0", "--speed", "2"),
        *("--scheduler", "vllm-fcfs", "--set", f"engine.profile={profile}"),
        *("--set", "engine.max_num_seqs=4"),
        stderr=subprocess.PIPE,
    )
    try:
        found = None
        while found is None:
            assert process.stderr
            line = await process.stderr.readline()
            assert line
            found = re.search(rb"url=(\S+)", line)
        yield process, found[1].decode()
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


def test_nothing_that_waits_is_lost_and_nothing_runs_twice(tmp_path: Path) -> None:
    """Law 1: only streams that had begun at the dead replica break, each with an error event."""
    profile = tmp_path / "profile.yaml"
    profile.write_text(PROFILE)

    async def main() -> None:
        async with AsyncExitStack() as stack:
            started = await asyncio.gather(
                *(stack.enter_async_context(engine(profile)) for _ in range(3))
            )
            client = await stack.enter_async_context(fleet([url for _, url in started]))

            async def ask(number: int) -> tuple[int, str, bytes]:
                body = {
                    "prompt": f"{number}", "max_tokens": TOKENS, "ignore_eos": True,
                    "stream": number % 3 > 0,
                }  # fmt: skip
                async with client.post(COMPLETIONS, json=body) as got:
                    replica = got.headers.get("x-slosched-replica", "")
                    return got.status, replica, await got.read()

            asking = [asyncio.create_task(ask(number)) for number in range(REQUESTS)]
            await asyncio.sleep(1.0)  # the first are on their way, most still wait
            started[1][0].send_signal(signal.SIGKILL)
            said = await asyncio.gather(*asking)

            assert {status for status, _, _ in said} == {200}
            broken = [replica for _, replica, body in said if BROKE_OFF in body]
            assert set(broken) <= {"r1"}
            assert len(broken) <= 4
            whole = Counter(
                replica for _, replica, body in said if DONE in body or b'"usage"' in body
            )
            assert sum(whole.values()) + len(broken) == REQUESTS
            for at in (0, 2):
                connection = await stack.enter_async_context(Connection(started[at][1]))
                page = await metrics(connection)
                ended = {
                    sample.labels["finished_reason"]: sample.value
                    for sample in page
                    if sample.name == "vllm:request_success_total"
                }
                assert ended == {"length": whole[f"r{at}"]}

    asyncio.run(main())
