"""A cluster leaves nothing running, however its runner ends."""

import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests.server.processes import alive

RUNNER = """
import asyncio, sys
from pathlib import Path
from tests.cluster.control_plane import ControlPlane
from tests.cluster.objects import deployment

async def run():
    async with ControlPlane(Path(sys.argv[1])) as plane, plane.node("n1"):
        # What a pod starts in a session of its own is of no process group that is known.
        script = "setsid sleep 1000 & echo runs; sleep 1000"
        await plane.apply([deployment("sleeps", 1, ["bash", "-c", script])])
        pod = (await plane.until_ready("app=sleeps", 1))[0]["metadata"]["name"]
        while "runs" not in plane.log(pod):
            await asyncio.sleep(0.05)
        print("up", flush=True)
        await asyncio.sleep(1000)

asyncio.run(run())
"""


def test_nothing_outlives_a_runner_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RUNNER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as runner:
        try:
            assert runner.stdout is not None
            assert runner.stdout.readline() == b"up\n"
            below = psutil.Process(runner.pid).children(recursive=True)
            assert {"etcd", "kube-apiserver", "sleep"} <= {process.name() for process in below}
        finally:
            runner.kill()
    deadline = time.monotonic() + 60.0
    while left := [process for process in below if alive(process.pid)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
