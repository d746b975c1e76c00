"""The picker that leads is lost, in three ways, under load; its standby takes over."""

import asyncio
import signal
from pathlib import Path

import pytest

from tests.cluster.asked import Asked
from tests.cluster.load import Load
from tests.cluster.measured import Measured
from tests.cluster.pool import NAMESPACE, Pool, pool

TAKES_OVER_WITHIN_S = 10.0
HELD = "503 picker_unavailable"


@pytest.mark.usefixtures("compiled")
def test_a_leader_that_is_killed_is_replaced(tmp_path: Path, measured: Measured) -> None:
    async def run() -> None:
        async with pool(tmp_path) as running:
            async with running.load() as load:
                await load.until(_answered, 30)
                leader = await running.leader()
                lost = _now()
                (await running.node_of(leader)).kill(leader)
                await load.until(lambda one: _answered(one) and one.sent > lost, 30)
            _check_held(load, lost, measured)
            assert not load.of("broken"), load.told()
            measured.took("picker killed, until another leads", _outage(load, lost))

    asyncio.run(run())


@pytest.mark.usefixtures("compiled")
def test_a_leader_that_hangs_is_replaced_and_leads_no_more_when_it_goes_on(
    tmp_path: Path, measured: Measured
) -> None:
    async def run() -> None:
        async with pool(tmp_path) as running:
            async with running.load() as load:
                await load.until(_answered, 30)
                leader = await running.leader()
                (life,) = (
                    life
                    for node in running.plane.nodes.values()
                    for life in node.pods.values()
                    if life.pod["metadata"]["name"] == leader
                )
                lost = _now()
                life.signal(signal.SIGSTOP)
                await load.until(lambda one: _answered(one) and one.sent > lost, 30)
                assert await running.leader() != leader
                life.signal(signal.SIGCONT)
                again = _now()
                await load.until(lambda one: _answered(one) and one.sent > again, 30)
                assert await running.leader() != leader
            _check_held(load, lost, measured)
            assert not load.of("broken"), load.told()
            assert not [one for one in load.of("refused") if one.sent > again], load.told()
            measured.took("picker hangs, until another leads", _outage(load, lost))

    asyncio.run(run())


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("how", ["kill", "freeze"])
def test_a_leader_whose_node_is_lost_is_replaced(
    tmp_path: Path, how: str, measured: Measured
) -> None:
    async def run() -> None:
        async with pool(tmp_path) as running:
            async with running.load() as load:
                await load.until(_answered, 30)
                node = await running.node_of(await running.leader())
                gone = {life.pod["metadata"]["name"] for life in node.pods.values()}
                lost = _now()
                await node.lose("freeze" if how == "freeze" else "kill")
                await load.until(lambda one: _answered(one) and one.sent > lost, 30)
                if how == "freeze":
                    # Nobody closes the connections of engines that stand still; they go on.
                    node.back()
            _check_held(load, lost, measured)
            # Engines were lost with it: streams on these broke, and no others.
            assert {one.replica for one in load.of("broken")} <= gone, load.told()
            assert how == "kill" or not load.of("broken"), load.told()
            measured.took(f"picker's node lost ({how}), until another leads", _outage(load, lost))

    asyncio.run(run())


@pytest.mark.usefixtures("compiled")
def test_a_leader_that_is_deleted_hands_over(tmp_path: Path, measured: Measured) -> None:
    async def run() -> None:
        async with pool(tmp_path) as running:
            async with running.load() as load:
                await load.until(_answered, 30)
                leader, asked_to_go = await running.leader(), _now()
                await running.api.delete("v1", "Pod", leader, NAMESPACE)
                # It leads on for as long as its preStop takes, then lets the Lease go.
                await running.plane.until(lambda: _led_by_another(running, leader))
                led = _now()
                await load.until(lambda one: _answered(one) and one.sent > led, 30)
            _check_held(load, asked_to_go, measured)
            assert not load.of("broken"), load.told()
            refused = min((one.ended or 0.0 for one in load.of("refused")), default=led)
            measured.took(
                "picker deleted, from its end until another leads", _outage(load, refused)
            )

    asyncio.run(run())


def _now() -> float:
    return asyncio.get_running_loop().time()


def _answered(one: Asked) -> bool:
    return one.outcome == "answered"


async def _led_by_another(running: Pool, leader: str) -> bool:
    return await running.leader() not in ("", leader)


def _check_held(load: Load, lost: float, measured: Measured) -> None:
    """All are answered or told to try again, and none of these before the loss."""
    measured.counted(load.told())
    load.check()
    for one in load.of("refused"):
        assert (one.code, one.retry_after) == (HELD, "1"), one
        assert one.ended is not None
        assert one.ended > lost, one


def _outage(load: Load, lost: float) -> float:
    """Give the time from a loss to the first answer to whoever asked after it."""
    began = min(one.began for one in load.of("answered") if one.sent > lost and one.began)
    assert began - lost < TAKES_OVER_WITHIN_S
    return began - lost
