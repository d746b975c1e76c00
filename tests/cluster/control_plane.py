"""A real Kubernetes control plane on loopback addresses; its nodes are test-only kubelets."""

import asyncio
import base64
import os
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
import yaml

from tests.cluster.api import NAMESPACE, Api, ApiError, Object
from tests.cluster.certificates import Certificates
from tests.cluster.flags import NODE_SILENT_S, api_server, controller_manager, etcd, scheduler
from tests.cluster.kubelet import Kubelet
from tests.cluster.loopback import subnet
from tests.cluster.programs import Programs, signal_group, stop

BINARIES = (
    Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slosched/kubernetes-1.20.2"
)
PATIENCE_S = 180.0
T = TypeVar("T")


class ControlPlane:
    """Etcd, API server, controllers and scheduler, which start with it and end with it.

    Parameters
    ----------
    folder
        An empty folder for state and logs; `folder/logs` says what went wrong.
    silent_s
        After so many seconds without a word a node is lost.
    """

    def __init__(self, folder: Path, *, silent_s: int = NODE_SILENT_S) -> None:
        self.folder = folder
        self.nodes: dict[str, Kubelet] = {}
        self._silent_s = silent_s
        self._commands: dict[str, list[str]] = {}
        self._processes: dict[str, Process] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        if not BINARIES.is_dir():
            raise FileNotFoundError(f"{BINARIES}: run scripts/install_control_plane")
        async with AsyncExitStack() as stack:
            self.prefix = stack.enter_context(subnet())
            self.address = f"{self.prefix}.0.1"
            self.url = f"https://{self.address}:6443"
            self.certificates = Certificates(self.folder / "certificates", self.address)
            self._admin = self.certificates.issue("admin", group="system:masters")
            self.programs = await stack.enter_async_context(Programs(self.folder / "logs"))
            self.api = await stack.enter_async_context(
                Api(self.url, self.certificates.context(self._admin))
            )
            await self._start(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self._stack.__aexit__(kind, error, at)

    def signal(self, program: str, number: signal.Signals) -> None:
        """Send a signal to a part, such as `kube-apiserver`."""
        signal_group(self._processes[program], number)

    async def restart(self, program: str) -> None:
        """Start a part that was killed again."""
        await self._processes[program].wait()
        argv = self._commands[program]
        self._processes[program] = await self.programs.start(program, argv)

    async def _start(self, stack: AsyncExitStack) -> None:
        async def run(argv: list[str]) -> None:
            name = Path(argv[0]).name
            self._commands[name] = argv
            self._processes[name] = await self.programs.start(name, argv)
            stack.push_async_callback(self._stop, name)

        await run(etcd(self.folder / "etcd", self.address))
        await run(api_server(BINARIES, self.certificates, self.address))
        await self.until(lambda: self.api.request("GET", "/api/v1/namespaces/kube-system"))
        config = self._write_kubeconfig("admin", *self._admin)
        await run(
            controller_manager(BINARIES, self.certificates, self.address, config, self._silent_s)
        )
        await run(scheduler(BINARIES, self.address, config))
        # Without it no pod is let in.
        await self.until(lambda: self.api.get("v1", "ServiceAccount", "default"))

    async def _stop(self, program: str) -> None:
        await stop(self._processes[program], 5.0)

    @asynccontextmanager
    async def node(self, name: str, **options: Any) -> AsyncIterator[Kubelet]:
        """Add a node; see `Kubelet` for its options."""
        network = f"{self.prefix}.{len(self.nodes) + 1}"
        async with (
            self.connect() as api,
            Kubelet(api, name, network, self.programs, self.folder / name, **options) as kubelet,
        ):
            self.nodes[name] = kubelet
            yield kubelet

    def connect(self) -> Api:
        """Give a connection of its own, to be entered, which outlasts that the server is away."""
        return Api(self.url, self.certificates.context(self._admin), patient=True)

    async def apply(self, objects: Iterable[Object], namespace: str = NAMESPACE) -> None:
        """Create or change objects, in their order."""
        await self.api.apply(objects, namespace)

    async def until(self, check: Callable[[], Awaitable[T]], patience_s: float = PATIENCE_S) -> T:
        """Ask until the answer is true of anything; what is not there yet is waited for."""
        last: object = None
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while True:
                    try:
                        last = found = await check()
                        if found:
                            return found
                    except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                        last = error
                    await asyncio.sleep(0.05)
        raise AssertionError(
            f"not within {patience_s} s: last {last!r}; logs: {self.programs.logs}"
        )

    async def scale(self, kind: str, name: str, replicas: int, namespace: str = NAMESPACE) -> None:
        """Scale a Deployment or a StatefulSet."""
        await self.api.patch("apps/v1", kind, name, {"spec": {"replicas": replicas}}, namespace)

    async def ready(self, selector: str, namespace: str = NAMESPACE) -> list[Object]:
        """Find the pods that a Service with this label selector would send to."""
        pods = await self.api.find("v1", "Pod", namespace, labelSelector=selector)
        return [pod for pod in pods if is_ready(pod)]

    async def until_ready(
        self, selector: str, count: int, namespace: str = NAMESPACE
    ) -> list[Object]:
        """Wait until so many are ready, no more and no fewer."""

        async def enough() -> list[Object] | None:
            found = await self.ready(selector, namespace)
            return found if len(found) == count else None

        return await self.until(enough) or []

    def log(self, pod: str, container: str = "main") -> str:
        """Read what a container has printed, in all its runs."""
        path = self.programs.logs / f"{pod}_{container}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    async def token(self, service_account: str, namespace: str = NAMESPACE) -> str:
        """Give what a pod of this service account says who it is with."""
        path = await self.api.path("v1", "ServiceAccount", namespace, service_account)
        found = await self.api.request("POST", f"{path}/token", {"spec": {}})
        return str(found["status"]["token"])

    @asynccontextmanager
    async def as_service_account(
        self, service_account: str, namespace: str = NAMESPACE
    ) -> AsyncIterator[Api]:
        """Connect with the rights of a service account."""
        token = await self.token(service_account, namespace)
        async with Api(self.url, self.certificates.context(), token) as api:
            yield api

    async def kubeconfig(
        self, service_account: str | None = None, namespace: str = NAMESPACE
    ) -> Path:
        """Write one for programs outside of pods: an administrator's, or a service account's."""
        if service_account is None:
            return self.folder / "admin.kubeconfig"
        return self._write_kubeconfig(
            service_account, token=await self.token(service_account, namespace), namespace=namespace
        )

    def _write_kubeconfig(
        self, user: str, certificate: Path | None = None, key: Path | None = None, **more: str
    ) -> Path:
        namespace = more.pop("namespace", NAMESPACE)
        identity: Object = dict(more)
        if certificate is not None and key is not None:
            identity = {
                "client-certificate-data": _base64(certificate),
                "client-key-data": _base64(key),
            }
        cluster = {
            "server": self.url,
            "certificate-authority-data": _base64(self.certificates.ca),
        }
        path = self.folder / f"{user}.kubeconfig"
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "test", "cluster": cluster}],
                    "users": [{"name": user, "user": identity}],
                    "contexts": [
                        {
                            "name": "test",
                            "context": {"cluster": "test", "user": user, "namespace": namespace},
                        }
                    ],
                    "current-context": "test",
                }
            )
        )
        return path


def is_ready(pod: Object) -> bool:
    """Whether a Service would send to a pod."""
    conditions = pod.get("status", {}).get("conditions", [])
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
