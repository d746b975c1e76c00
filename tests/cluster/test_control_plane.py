"""The harness itself: what it says of a cluster is so."""

import asyncio
from pathlib import Path

import pytest

from tests.cluster.api import ApiError, Object
from tests.cluster.control_plane import ControlPlane
from tests.cluster.objects import engines, network_of

POD_READER: list[Object] = [
    {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "reader"}},
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "reader"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}],
    },
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": "default"}],
    },
]


@pytest.mark.usefixtures("compiled")
def test_a_deployment_scales_and_what_is_killed_or_deleted_comes_back(tmp_path: Path) -> None:
    async def run() -> None:
        async with ControlPlane(tmp_path) as plane, plane.node("n1") as node:
            await plane.apply([engines("vllm", 3)])
            await plane.until_ready("app=vllm", 3)
            await plane.scale("Deployment", "vllm", 5)
            pods = await plane.until_ready("app=vllm", 5)
            killed = pods[0]["metadata"]["name"]
            node.kill(killed)

            async def restarted() -> bool:
                pod = await plane.api.get("v1", "Pod", killed)
                return bool(pod["status"]["containerStatuses"][0]["restartCount"] == 1)

            await plane.until(restarted)
            await plane.until_ready("app=vllm", 5)
            await plane.api.delete("v1", "Pod", killed)

            async def gone() -> bool:
                names = {p["metadata"]["name"] for p in await plane.api.find("v1", "Pod")}
                return killed not in names

            await plane.until(gone)
            await plane.until_ready("app=vllm", 5)

    asyncio.run(run())


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("how", ["kill", "freeze"])
def test_a_lost_nodes_pods_run_elsewhere(tmp_path: Path, how: str) -> None:
    async def run() -> None:
        async with (
            ControlPlane(tmp_path) as plane,
            plane.node("n1") as first,
            plane.node("n2") as second,
        ):
            await plane.apply([engines("vllm", 4)])
            pods = await plane.until_ready("app=vllm", 4)
            assert {network_of(pod) for pod in pods} == {first.network, second.network}
            await first.lose("freeze" if how == "freeze" else "kill")

            async def elsewhere() -> bool:
                ready = await plane.ready("app=vllm")
                return len(ready) == 4 and {network_of(pod) for pod in ready} == {second.network}

            await plane.until(elsewhere)
            first.back()

            async def all_told() -> bool:
                return len(await plane.api.find("v1", "Pod")) == 4

            # What had been evicted ends only once its node is told so.
            await plane.until(all_told)

    asyncio.run(run())


def test_nobody_has_a_right_that_is_not_granted(tmp_path: Path) -> None:
    async def run() -> None:
        async with ControlPlane(tmp_path) as plane:
            await plane.apply(POD_READER)
            async with plane.as_service_account("reader") as reader:

                async def reads() -> bool:
                    return await reader.find("v1", "Pod") == []

                await plane.until(reads)
                for kind in ("Secret", "ConfigMap"):
                    with pytest.raises(ApiError, match=rf"403.*{kind.lower()}s is forbidden"):
                        await reader.find("v1", kind)
                with pytest.raises(ApiError, match=r"403.*cannot delete"):
                    await reader.delete("v1", "Pod", "any")

    asyncio.run(run())
