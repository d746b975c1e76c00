"""What the picker keeps of a cluster, without the picker: replicas and rules."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from slosched.config.live import LiveConfig
from slosched.dispatch import Dispatcher
from slosched_server.control import Control
from slosched_server.kubernetes.api import Api, open_api
from slosched_server.kubernetes.cluster import Cluster
from slosched_server.kubernetes.watch import WatchTimes
from slosched_server.members import Members
from slosched_server.upstream import UpstreamAnswer, UpstreamRequest
from tests.kubernetes_api.fake_api import FakeApi
from tests.kubernetes_api.objects import NAMESPACE, POOL, Verbs

QUICK = WatchTimes(lasts_s=5.0, retry_s=0.01, most_s=0.05, missing_s=0.05, doubts_s=0.3)
YAML = """
classes:
  chat: {ttft_ms: 1000, tpot_ms: 100, weight: 2}
  batch: {e2e_ms: 30000, service_tier: flex}
"""


class _Well:
    """An engine that says that it is well, and no more."""

    @asynccontextmanager
    async def send(self, _: UpstreamRequest) -> AsyncIterator[UpstreamAnswer]:
        async def nothing() -> AsyncIterator[bytes]:
            for chunk in tuple[bytes, ...]():
                yield chunk

        yield UpstreamAnswer(200, (), nothing())


@asynccontextmanager
async def connect(_: str) -> AsyncIterator[_Well]:
    yield _Well()


@dataclass(frozen=True)
class Kept:
    cluster: Cluster
    members: Members
    control: Control
    dispatcher: Dispatcher

    @property
    def replicas(self) -> dict[str, str]:
        """Who gets requests, and where each is."""
        urls = self.members.urls
        return {one.name: urls[one.name] for one in self.dispatcher.ready if one.name in urls}

    @property
    def classes(self) -> dict[str, object]:
        classes: dict[str, object] = self.control.in_force.rules.shown["classes"]
        return classes


@asynccontextmanager
async def discovering(
    api: Api, folder: Path, yaml: str = YAML, namespace: str = NAMESPACE
) -> AsyncIterator[Kept]:
    """Keep replicas and classes as the API has them."""
    path = folder / "slosched.yaml"
    path.write_text(yaml)
    source = LiveConfig(path, [], queue=True, discovers=True)
    control, dispatcher = Control(source), source.settings().dispatcher()
    members = Members(
        dispatcher, connect, probe_every_s=0.05, probe_timeout_s=5.0, changed=lambda: None
    )
    cluster = Cluster(api, POOL, namespace, members, control, times=QUICK)
    running = asyncio.create_task(cluster.run())
    try:
        yield Kept(cluster, members, control, dispatcher)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await members.close()


@asynccontextmanager
async def fake(folder: Path) -> AsyncIterator[tuple[FakeApi, Api, Verbs]]:
    """Open a fake API, and a way to it for us and one for the test."""
    async with FakeApi() as server, open_api(server.kubeconfig(folder)) as api:
        yield server, api, Verbs(api)
