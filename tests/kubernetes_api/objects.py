"""Objects of a cluster, and the verbs by which tests make, change and delete them."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from slosched_server.kubernetes.api import Api
from slosched_server.kubernetes.kinds import OBJECTIVES, PODS, POOLS, SLICES, Kind

NAMESPACE = "models"
POOL = "llama"
LABELS = {"app": "vllm"}
Json = dict[str, Any]


def pod(
    name: str,
    ip: str,
    *,
    ready: bool = True,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": LABELS if labels is None else labels,
            "annotations": annotations or {},
        },
        "spec": {"containers": [{"name": "vllm", "image": "vllm"}]},
        "status": status(ip, ready=ready),
    }


def status(ip: str, *, ready: bool) -> Json:
    said = {"type": "Ready", "status": str(ready)}
    return {"phase": "Running", "podIP": ip, "conditions": [said]}


def endpoint_slice(name: str, uid: str, **conditions: bool) -> Json:
    """Make a slice of one Pod, whose uid it is: `serving=False`."""
    target = {"kind": "Pod", "namespace": NAMESPACE, "name": name, "uid": uid}
    return {
        "apiVersion": f"{SLICES.group}/{SLICES.version}",
        "kind": "EndpointSlice",
        "metadata": {"name": f"vllm-{name}"},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": conditions, "targetRef": target}],
    }


def pool(labels: dict[str, str] | None = None, ports: Sequence[int] = (8000,)) -> Json:
    return {
        "apiVersion": f"{POOLS.group}/{POOLS.version}",
        "kind": "InferencePool",
        "metadata": {"name": POOL},
        "spec": {
            "selector": {"matchLabels": labels or LABELS},
            "targetPorts": [{"number": port} for port in ports],
            "endpointPickerRef": {"name": "picker", "port": {"number": 9002}},
        },
    }


def objective(
    name: str, priority: int = 0, of: str = POOL, kind: Kind = OBJECTIVES[1], **said: object
) -> Json:
    """Make a class object; what is said becomes annotations: `ttft_ms=500`."""
    annotations = {f"slosched.dev/{k.replace('_', '-')}": str(v) for k, v in said.items()}
    return {
        "apiVersion": f"{kind.group}/{kind.version}",
        "kind": "InferenceObjective",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"priority": priority, "poolRef": {"name": of}},
    }


class Verbs:
    """Writes objects by the verbs that any API server has."""

    def __init__(self, api: Api, namespace: str = NAMESPACE) -> None:
        self.api, self.namespace = api, namespace

    async def create(self, kind: Kind, item: Json) -> None:
        await self.api.ask("POST", kind.path(self.namespace), body=item)
        if kind is PODS and "status" in item:  # a real server takes it by this path only
            await self.patch(kind, item["metadata"]["name"], {"status": item["status"]})

    async def patch(self, kind: Kind, name: str, change: Json) -> None:
        path = kind.path(self.namespace, name)
        if "status" in change:
            path += "/status"
        await self.api.ask("PATCH", path, body=change)

    async def delete(self, kind: Kind, name: str) -> None:
        # A Pod without a kubelet would wait for one.
        at_once = {"gracePeriodSeconds": "0"} if kind is PODS else {}
        await self.api.ask("DELETE", kind.path(self.namespace, name), at_once)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - what holds is anybody's
            await asyncio.sleep(0.005)
