"""EndpointSlices beside Pods, on a real API server; what writes them elsewhere is the test here."""

import asyncio
from pathlib import Path

import pytest

from tests.cluster.api import Object
from tests.cluster.pool import NAMESPACE, pool

SLICE = ("discovery.k8s.io/v1", "EndpointSlice", "vllm-test")


@pytest.mark.usefixtures("compiled")
def test_a_pod_that_a_slice_denies_gets_nothing_new(tmp_path: Path) -> None:
    async def run() -> None:
        async with pool(tmp_path, engines=2) as running:
            denied, other = (pod["metadata"] for pod in await running.engines_ready(2))

            async def said(count: int) -> bool:
                """Whether eight answers at a time are of so many engines, which have four seats."""
                asked = await asyncio.gather(*(running.ask("interactive") for _ in range(8)))
                replicas = {one.replica for one in asked}
                assert {one.outcome for one in asked} == {"answered"}
                return len(replicas) == count and other["name"] in replicas

            await running.plane.until(lambda: said(2))
            await running.plane.apply([_slice_of(denied, serving=False)], NAMESPACE)
            await running.plane.until(lambda: said(1))
            await running.plane.apply([_slice_of(denied, serving=True)], NAMESPACE)
            await running.plane.until(lambda: said(2))

            going = _slice_of(denied, serving=True, terminating=True)
            await running.plane.apply([going], NAMESPACE)
            await running.plane.until(lambda: said(1))
            await running.api.delete(*SLICE, NAMESPACE)
            await running.plane.until(lambda: said(2))

    asyncio.run(run())


def _slice_of(pod: Object, **conditions: bool) -> Object:
    target = {"kind": "Pod", "namespace": NAMESPACE, "name": pod["name"], "uid": pod["uid"]}
    api_version, kind, name = SLICE
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": conditions, "targetRef": target}],
    }
