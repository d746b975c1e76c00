"""The life of one pod on a test-only kubelet, from its volumes to its removal."""

import asyncio
import signal
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.cluster.api import Api, ApiError, Object
from tests.cluster.container import Container, Setting
from tests.cluster.environment import environment, expand
from tests.cluster.pod_status import pod_status
from tests.cluster.programs import Programs
from tests.cluster.sandbox import Sandbox
from tests.cluster.volumes import mounts, write_volumes

_ASK_AGAIN_S = 0.5


class PodLife:
    """Runs a pod, and reports what becomes of it.

    Parameters
    ----------
    api
        The node's connection.
    pod
        As first seen.
    ip, host_ip
        Its address and its node's.
    folder
        For its volumes.
    programs
        Starts its processes.
    images
        What an image runs, for containers that name no command.
    """

    def __init__(
        self,
        api: Api,
        pod: Object,
        ip: str,
        host_ip: str,
        folder: Path,
        programs: Programs,
        images: Mapping[str, Sequence[str]],
    ) -> None:
        addresses = {"podIP": ip, "podIPs": [{"ip": ip}], "hostIP": host_ip}
        self.pod = pod | {"status": pod.get("status", {}) | addresses}
        self.ip = ip
        self.containers: list[Container] = []
        self._api = api
        self._addresses = addresses
        self._folder = folder
        self._programs = programs
        self._images = images
        self._init: list[Container] = []
        self._initialized = False
        self._news = asyncio.Event()
        self._deleted = asyncio.Event()

    def update(self, pod: Object) -> None:
        """Take note of what the API server says of it now."""
        if "deletionTimestamp" in pod["metadata"]:
            self.pod["metadata"] = pod["metadata"]
            self._deleted.set()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all of its processes."""
        for container in [*self._init, *self.containers]:
            container.signal(number)

    async def run(self) -> None:
        """Run it until it is over, or deleted and gone; killed if cancelled."""
        reporting = asyncio.create_task(self._report_changes())
        running = asyncio.create_task(self._run_containers())
        deleted = asyncio.create_task(self._deleted.wait())
        try:
            await asyncio.wait({running, deleted}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
            await self._deleted.wait()
            grace_s = self.pod["metadata"].get("deletionGracePeriodSeconds", 30)
            everything = [*self._init, *self.containers]
            await asyncio.gather(*(container.stop(grace_s) for container in everything))
            if everything:
                await running
        finally:
            for task in (reporting, running, deleted):
                task.cancel()
            await asyncio.gather(reporting, running, deleted, return_exceptions=True)
        await self._report()
        await self._remove()

    async def _run_containers(self) -> None:
        places = await self._volumes()
        spec = self.pod["spec"]
        for described in spec.get("initContainers", []):
            # An init container that restarts runs until it succeeds.
            policy = "Never" if spec["restartPolicy"] == "Never" else "OnFailure"
            self._init.append(await self._container(described, places, policy))
            if await self._init[-1].run() != 0 or self._deleted.is_set():
                return
        self._initialized = True
        policy = spec["restartPolicy"]
        made = [await self._container(c, places, policy) for c in spec["containers"]]
        if self._deleted.is_set():
            return
        self.containers += made
        await asyncio.gather(*(container.run() for container in made))

    async def _volumes(self) -> dict[str, Path]:
        while True:
            try:
                return await write_volumes(self._api, self.pod, self._folder)
            except ApiError as error:
                # A real pod waits in ContainerCreating for a ConfigMap that is not there, too.
                if error.status != 404:
                    raise
                await asyncio.sleep(_ASK_AGAIN_S)

    async def _container(self, spec: Object, places: dict[str, Path], policy: str) -> Container:
        meta = self.pod["metadata"]
        host, port = self._api.url.removeprefix("https://").split(":")
        first = {
            "HOSTNAME": meta["name"],
            "KUBERNETES_SERVICE_HOST": host,
            "KUBERNETES_SERVICE_PORT": port,
        }
        environ = await environment(self._api, self.pod, spec, first)
        command = spec.get("command") or self._images.get(spec["image"])
        if command is None:
            raise NotImplementedError(
                f"pod {meta['name']}: no image is run here: give {spec['name']} a command,"
                f" or the node what {spec['image']} runs"
            )
        sandbox = Sandbox(
            self._programs,
            f"{meta['name']}_{spec['name']}",
            self._folder / "roots" / spec["name"],
            mounts(self.pod, spec, places),
            environ,
            spec.get("workingDir", "/"),
        )
        grace_s = self.pod["spec"].get("terminationGracePeriodSeconds", 30)
        argv = [expand(part, environ) for part in [*command, *spec.get("args", [])]]
        setting = Setting(self.ip, policy, grace_s, self._news.set, self._api.connected)
        return Container(spec, argv, sandbox, setting)

    async def _report_changes(self) -> None:
        while True:
            await self._report()
            await self._news.wait()
            self._news.clear()

    async def _report(self) -> None:
        found = pod_status(self.pod, self._init, self.containers, initialized=self._initialized)
        self.pod["status"] = found | self._addresses
        meta = self.pod["metadata"]
        path = await self._api.path("v1", "Pod", meta["namespace"], meta["name"])
        change = {"metadata": {"uid": meta["uid"]}, "status": self.pod["status"]}
        await _unless_gone(self._api.request("PATCH", f"{path}/status", change, "merge-patch+json"))

    async def _remove(self) -> None:
        meta = self.pod["metadata"]
        path = await self._api.path("v1", "Pod", meta["namespace"], meta["name"])
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}}
        await _unless_gone(self._api.request("DELETE", path, options))


async def _unless_gone(request: Coroutine[Any, Any, Object]) -> None:
    try:
        await request
    except ApiError as error:
        # Deleted by force; or of another uid, if a StatefulSet has made its successor.
        if error.status not in {404, 409, 422}:
            raise
