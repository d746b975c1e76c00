"""What must not disturb anybody: an API server that is away, and a rollout of the picker."""

import asyncio
import signal
from pathlib import Path

import pytest

from tests.cluster.asked import Asked
from tests.cluster.measured import Measured
from tests.cluster.pool import NAMESPACE, PICKERS, Pool, pool

AWAY_S = 15.0
SERVER = "kube-apiserver"


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_while_the_api_server_is_away_requests_are_served(
    tmp_path: Path, how: str, measured: Measured
) -> None:
    """Nodes are lost after 40 s, as by default, so that it is only the server that is away."""

    async def run() -> None:
        async with pool(tmp_path, silent_s=40) as running:
            leader = await running.leader()
            async with running.load() as load:
                await load.until(_answered, 30)
                running.plane.signal(SERVER, signal.SIGSTOP if how == "stop" else signal.SIGKILL)
                away = _now()
                await asyncio.sleep(AWAY_S)
                if how == "stop":
                    running.plane.signal(SERVER, signal.SIGCONT)
                else:
                    await running.plane.restart(SERVER)
                there = _now()
                assert [one for one in load.of("answered") if away + 5 < one.sent < there]
                # Changes are seen again.
                await running.scale(4)
                pods = {pod["metadata"]["name"] for pod in await running.engines_ready(4)}
                fresh = pods - {one.replica for one in load.asked}
                await load.until(lambda one: one.replica in fresh)
                measured.took(
                    f"API server back ({how}), until a pod made then answers", _now() - there
                )
            measured.counted(load.told())
            load.check()
            assert load.of("answered") == load.asked, load.told()
            assert await running.leader() == leader
            assert "leading no more" not in running.log(leader)

    asyncio.run(run())


@pytest.mark.usefixtures("compiled")
def test_a_rollout_of_the_picker_costs_who_is_held_a_503(
    tmp_path: Path, measured: Measured
) -> None:
    async def run() -> None:
        async with pool(tmp_path) as running:
            old = {pod["metadata"]["name"] for pod in await running.pods(PICKERS)}
            annotations = {"metadata": {"annotations": {"tests/rolled-out": "once"}}}
            change = {"spec": {"template": annotations}}
            async with running.load() as load:
                await load.until(_answered, 30)
                began = _now()
                await running.api.patch(
                    "apps/v1", "Deployment", "slosched-picker", change, NAMESPACE
                )
                await running.plane.until(lambda: _rolled_out(running, old))
                measured.took("rollout of the picker, until no old one is left", _now() - began)
                await load.until(_answered, len(load.of("answered")) + 30)
            measured.counted(load.told())
            load.check()
            assert not load.of("broken"), load.told()
            for one in load.of("refused"):
                assert (one.code, one.retry_after) == ("503 picker_unavailable", "1"), one
            refused = [one.ended for one in load.of("refused") if one.ended]
            if refused:
                measured.took(
                    "rollout of the picker, first 503 to last", max(refused) - min(refused)
                )

    asyncio.run(run())


async def _rolled_out(running: Pool, old: set[str]) -> bool:
    names = {pod["metadata"]["name"] for pod in await running.pods(PICKERS)}
    return len(names) == 2 and not names & old and await running.leader() in names


def _now() -> float:
    return asyncio.get_running_loop().time()


def _answered(one: Asked) -> bool:
    return one.outcome == "answered"
