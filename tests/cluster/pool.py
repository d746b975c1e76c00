"""The shipped objects in a cluster, with a real Envoy before them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.cluster.api import Api, Object
from tests.cluster.asked import Asked, ask
from tests.cluster.control_plane import ControlPlane, is_ready
from tests.cluster.definitions import DEFINITIONS
from tests.cluster.eds import endpoints_file, has_address
from tests.cluster.kubelet import Kubelet
from tests.cluster.load import Load
from tests.cluster.older import IMAGES, older
from tests.deploy.manifests import rendered
from tests.picker.envoy import Envoy, envoy

NAMESPACE = "slosched"
ENGINES = "app=vllm,slosched.dev/pool=vllm"
PICKERS = "app=slosched-picker"
CAPACITY = {"cpu": "64", "memory": "512Gi", "nvidia.com/gpu": "8"}


@dataclass(frozen=True)
class Pool:
    """Engines, an active picker and its standby, on nodes of a cluster."""

    plane: ControlPlane
    api: Api
    gateway: Envoy

    def load(self, clients: int = 24) -> Load:
        """Make a load, to be entered."""
        return Load(self.gateway.url, clients)

    async def ask(self, slo_class: str, **headers: str) -> Asked:
        """Ask for an answer of ten tokens."""
        async with aiohttp.ClientSession() as client:
            return await ask(client, self.gateway.url, slo_class, 10, **headers)

    async def leader(self) -> str:
        """Give the name of the pod that holds the Lease; "" if none does."""
        lease = await self.api.get(
            "coordination.k8s.io/v1", "Lease", "slosched-picker-vllm", NAMESPACE
        )
        return str(lease["spec"].get("holderIdentity", ""))

    async def pods(self, selector: str) -> list[Object]:
        """Find all pods of a selector."""
        return await self.api.find("v1", "Pod", NAMESPACE, labelSelector=selector)

    async def has(self, selector: str, count: int) -> bool:
        """Whether there are so many, in whatever state."""
        return len(await self.pods(selector)) == count

    async def node_of(self, pod: str) -> Kubelet:
        """Give the node of a pod."""
        found = await self.api.get("v1", "Pod", pod, NAMESPACE)
        return self.plane.nodes[found["spec"]["nodeName"]]

    async def engines_ready(self, count: int) -> list[Object]:
        """Wait until so many engines are ready, no more and no fewer."""
        return await self.plane.until_ready(ENGINES, count, NAMESPACE)

    async def scale(self, engines: int) -> None:
        """Ask for so many engines."""
        change: Object = {"spec": {"replicas": engines}}
        await self.api.patch("apps/v1", "Deployment", "vllm", change, NAMESPACE)

    def log(self, pod: str) -> str:
        """Read what a picker's pod has printed, in all its runs."""
        return self.plane.log(pod, "picker")

    @asynccontextmanager
    async def readiness(self, selector: str) -> AsyncIterator[dict[str, float]]:
        """Note when each pod was first seen to be ready, by name, by the loop's clock."""
        seen: dict[str, float] = {}

        async def look() -> None:
            clock = asyncio.get_running_loop().time
            async for pods in self.api.follow("v1", "Pod", NAMESPACE, labelSelector=selector):
                for pod in pods.values():
                    if is_ready(pod):
                        seen.setdefault(pod["metadata"]["name"], clock())

        looking = asyncio.create_task(look())
        try:
            yield seen
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)


@asynccontextmanager
async def pool(
    folder: Path, engines: int = 3, nodes: int = 2, **options: Any
) -> AsyncIterator[Pool]:
    """Deploy it, and wait until a standby is there and all engines serve.

    Parameters
    ----------
    options
        Of the control plane.
    """
    place = folder / "envoy"
    place.mkdir()
    async with AsyncExitStack() as stack:
        plane = await stack.enter_async_context(ControlPlane(folder, **options))
        api = await stack.enter_async_context(plane.connect())
        for k in range(nodes):
            node = plane.node(f"n{k}", images=IMAGES, capacity=CAPACITY)
            await stack.enter_async_context(node)
        await plane.apply(DEFINITIONS)
        await plane.apply(older(rendered("envoy"), engines))
        gateway = await stack.enter_async_context(envoy(place, (), ()))
        for cluster, selector, port in (("vllm", ENGINES, 8000), ("picker", PICKERS, 9002)):
            file = place / f"{cluster}.yaml"
            await stack.enter_async_context(
                endpoints_file(api, selector, port, file, cluster, NAMESPACE, has_address)
            )
        running = Pool(plane, api, gateway)
        await running.engines_ready(engines)
        await plane.until_ready(PICKERS, 1, NAMESPACE)
        await plane.until(lambda: _serves(running))
        await plane.until(lambda: _has_standby(running))
        yield running


async def _serves(running: Pool) -> bool:
    return (await running.ask("interactive")).outcome == "answered"


async def _has_standby(running: Pool) -> bool:
    """Whether a picker that does not lead listens: its probe of liveness has passed."""
    leader = await running.leader()
    standbys = [p for p in await running.pods(PICKERS) if p["metadata"]["name"] != leader]
    return any(
        container["started"]
        for pod in standbys
        for container in pod["status"].get("containerStatuses", [])
    )
