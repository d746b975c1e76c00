"""A test-only kubelet: runs the pods of one node as processes of this machine.

Real are its reports to the API server, restarts, probes, volumes, service accounts' tokens and the
signals of a pod's end. There are no images (commands come from the manifest, or from a table), no
limits of memory or CPU, no users and no network of a pod's own: a pod's address is one of
127.X.N.0/24, which it is told by the downward API (`status.podIP`) and has to bind to itself.
"""

import asyncio
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from tests.cluster.api import Api, ApiError, Object
from tests.cluster.container import now
from tests.cluster.pod import PodLife
from tests.cluster.programs import Programs

HEARTBEAT_S = 1.0
LEASES = "kube-node-lease"


class Kubelet:
    """A node; pods that are bound to it run while it is entered.

    Parameters
    ----------
    api
        Its own connection, which may be cut.
    name
        The node's.
    network
        The first three bytes of its addresses.
    programs
        Starts the processes.
    folder
        For its pods' volumes.
    images
        What an image runs, for containers that name no command.
    labels
        Of the node.
    capacity
        What it has, beside or instead of 8 CPUs, 64 GiB and 110 pods; `{"nvidia.com/gpu": "4"}`.
    """

    def __init__(
        self,
        api: Api,
        name: str,
        network: str,
        programs: Programs,
        folder: Path,
        *,
        images: Mapping[str, Sequence[str]] | None = None,
        labels: Mapping[str, str] | None = None,
        capacity: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.pods: dict[str, PodLife] = {}
        self._api = api
        self.network = network
        self._programs = programs
        self._folder = folder
        self._images = images or {}
        self._labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
        self._labels |= labels or {}
        self._capacity = {"cpu": "8", "memory": "64Gi", "pods": "110"} | dict(capacity or {})
        self._hosts = count(2)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        await self._register()
        self._beating = asyncio.create_task(self._beat())
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Kill all pods at once, as if the machine were switched off; raise what went wrong."""
        tasks = [self._beating, self._watching, *self._tasks.values()]
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        failed = [result for result in results if isinstance(result, Exception)]
        if failed and error is None:
            raise ExceptionGroup(f"node {self.name}", failed)
        for each in failed:
            assert error is not None
            error.add_note(f"node {self.name}: {each!r}")

    async def lose(self, how: Literal["kill", "freeze"] = "kill") -> None:
        """Cut it off, with all its pods killed, or frozen: who connects to these gets no answer."""
        self._api.connected.clear()
        if how == "freeze":
            self._signal(signal.SIGSTOP)
            return
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._tasks.clear()
        self.pods.clear()

    def back(self) -> None:
        """Reconnect it: pods that were frozen go on, pods that were killed start again."""
        self._signal(signal.SIGCONT)
        self._api.connected.set()
        self._watching.cancel()
        self._watching = asyncio.create_task(self._watch())

    def kill(self, pod: str, container: str | None = None) -> None:
        """Kill the processes of a pod, or of one container of it."""
        for life in self.pods.values():
            if life.pod["metadata"]["name"] == pod:
                for each in life.containers:
                    if container in {None, each.spec["name"]}:
                        each.signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        for life in self.pods.values():
            life.signal(number)

    async def _register(self) -> None:
        await self._api.request(
            "POST",
            "/api/v1/nodes",
            {"metadata": {"name": self.name, "labels": self._labels}},
        )
        spec = {"holderIdentity": self.name, "leaseDurationSeconds": 4}
        await self._api.request(
            "POST",
            await self._api.path("coordination.k8s.io/v1", "Lease", LEASES),
            {"metadata": {"name": self.name}, "spec": spec | {"renewTime": _micro_time()}},
        )
        await self._report()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            # Whatever goes wrong with one is for the next to mend.
            with suppress(ApiError, OSError, TimeoutError):
                await self._api.patch(
                    "coordination.k8s.io/v1",
                    "Lease",
                    self.name,
                    {"spec": {"renewTime": _micro_time()}},
                    LEASES,
                )
                await self._report()

    async def _report(self) -> None:
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
        status: Object = {
            "capacity": self._capacity,
            "allocatable": self._capacity,
            "addresses": [{"type": "InternalIP", "address": f"{self.network}.1"}],
            "conditions": [ready | {"lastHeartbeatTime": now(), "lastTransitionTime": now()}],
        }
        path = f"/api/v1/nodes/{self.name}/status"
        await self._api.request("PATCH", path, {"status": status}, "merge-patch+json")

    async def _watch(self) -> None:
        selector = f"spec.nodeName={self.name}"
        async for pods in self._api.follow("v1", "Pod", None, fieldSelector=selector):
            for uid, pod in pods.items():
                over = pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}
                if uid not in self._tasks and not over:
                    self._start(uid, pod)
                if uid in self.pods:
                    self.pods[uid].update(pod)
            for uid in set(self._tasks) - set(pods):
                # Deleted by force, or gone by itself: nothing may be left.
                self.pods.pop(uid)
                task = self._tasks.pop(uid)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def _start(self, uid: str, pod: Object) -> None:
        ip = f"{self.network}.{next(self._hosts)}"
        folder = self._folder / f"{pod['metadata']['name']}-{uid[:8]}"
        host_ip = f"{self.network}.1"
        life = PodLife(self._api, pod, ip, host_ip, folder, self._programs, self._images)
        self.pods[uid] = life
        self._tasks[uid] = asyncio.create_task(life.run())


def _micro_time() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
