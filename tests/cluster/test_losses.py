"""Engines that are lost under load, one or a whole node; every request is accounted for."""

import asyncio
from pathlib import Path

import pytest

from tests.cluster.asked import Asked
from tests.cluster.kubelet import Kubelet
from tests.cluster.measured import Measured
from tests.cluster.pool import ENGINES, NAMESPACE, pool


@pytest.mark.usefixtures("compiled")
def test_of_a_pod_that_is_killed_only_answers_on_their_way_break(
    tmp_path: Path, measured: Measured
) -> None:
    async def run() -> None:
        async with pool(tmp_path) as running:
            async with running.load() as load:
                await load.until(_answered, 30)
                killed = load.asked[-1].replica
                node = await running.node_of(killed)
                lost = _now()
                node.kill(killed)

                async def restarted() -> bool:
                    (pod,) = (
                        pod
                        for pod in await running.pods(ENGINES)
                        if pod["metadata"]["name"] == killed
                    )
                    return bool(pod["status"]["containerStatuses"][0]["restartCount"] == 1)

                await running.plane.until(restarted)
                await load.until(
                    lambda one: _answered(one) and one.replica == killed and one.sent > lost
                )
            measured.counted(load.told())
            load.check()
            assert not load.of("refused"), load.told()
            for one in load.of("broken"):
                assert one.replica == killed, one
                assert one.sent < lost, one
            back = min(
                one.began
                for one in load.of("answered")
                if one.replica == killed and one.sent > lost and one.began
            )
            measured.took("a pod is killed, until it answers again", back - lost)

    asyncio.run(run())


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("how", ["kill", "freeze"])
def test_what_waits_when_a_node_is_lost_is_served_elsewhere(
    tmp_path: Path, how: str, measured: Measured
) -> None:
    async def run() -> None:
        async with pool(tmp_path, engines=4, nodes=3) as running:
            led_from = await running.node_of(await running.leader())
            away = next(
                node
                for node in running.plane.nodes.values()
                if node is not led_from and _engines_on(node)
            )
            gone = set(_engines_on(away))
            async with running.load() as load:
                await load.until(_answered, 30)
                lost = _now()
                await away.lose("freeze" if how == "freeze" else "kill")

                async def elsewhere() -> bool:
                    ready = await running.plane.ready(ENGINES, NAMESPACE)
                    names = {pod["metadata"]["name"] for pod in ready}
                    return len(ready) == 4 and not names & gone

                await running.plane.until(elsewhere)
                measured.took(
                    f"a node is lost ({how}), until its engines run elsewhere", _now() - lost
                )
                more = len(load.of("answered")) + 30
                await load.until(_answered, more)
                if how == "freeze":
                    # Nobody closes the connections of engines that stand still; they go on.
                    away.back()
            measured.counted(load.told())
            load.check()
            assert not load.of("refused"), load.told()
            assert {one.replica for one in load.of("broken")} <= gone, load.told()
            assert how == "kill" or not load.of("broken"), load.told()
            # What a lost engine has begun waits no more, though the first of it may be seen later.
            # All else is answered elsewhere, as nothing was refused, and nothing else broke.
            elsewhere_s = [
                (one.ended or lost) - lost
                for one in load.asked
                if one.sent < lost and (one.began or lost) >= lost and one.replica not in gone
            ]
            assert elsewhere_s
            measured.took(f"a node is lost ({how}), until who waited is answered", max(elsewhere_s))

    asyncio.run(run())


def _engines_on(node: Kubelet) -> list[str]:
    pods = (life.pod["metadata"] for life in node.pods.values())
    return [pod["name"] for pod in pods if pod["labels"]["app"] == "vllm"]


def _now() -> float:
    return asyncio.get_running_loop().time()


def _answered(one: Asked) -> bool:
    return one.outcome == "answered"
