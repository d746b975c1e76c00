"""Engines that come and go under load; every request is accounted for."""

import asyncio
from functools import partial
from pathlib import Path

import pytest

from tests.cluster.asked import Asked
from tests.cluster.measured import Measured
from tests.cluster.pool import ENGINES, pool

USED_WITHIN_S = 3.0


@pytest.mark.usefixtures("compiled")
def test_new_pods_are_used_at_once_and_nothing_is_lost(tmp_path: Path, measured: Measured) -> None:
    async def run() -> None:
        async with pool(tmp_path, engines=3) as running:
            first = {pod["metadata"]["name"] for pod in await running.engines_ready(3)}
            async with running.readiness(ENGINES) as seen, running.load(32) as load:
                await load.until(lambda one: one.outcome == "answered", 30)
                await running.scale(5)
                pods = {pod["metadata"]["name"] for pod in await running.engines_ready(5)}
                fresh = pods - first
                for name in fresh:
                    await load.until(partial(_of, name))
                await running.scale(3)
                await running.plane.until(lambda: running.has(ENGINES, 3))
                await load.until(lambda _: True, len(load.asked) + 30)
            load.check()
            measured.counted(load.told())
            assert len(fresh) == 2
            assert load.of("answered") == load.asked
            used = [
                min(one.began for one in load.asked if one.replica == name and one.began)
                - seen[name]
                for name in fresh
            ]
            measured.took("a new pod is ready, until it answers (slower of two)", max(used))
            assert max(used) < USED_WITHIN_S

    asyncio.run(run())


def _of(replica: str, one: Asked) -> bool:
    return one.replica == replica
