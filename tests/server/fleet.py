"""The real front end before several replicas, on a free port, in the caller's loop."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from prometheus_client import CollectorRegistry

from slosched.config.live import LiveConfig
from slosched_server.access import Access
from slosched_server.admin import Admin
from slosched_server.app import create_app
from slosched_server.config_reloads import ConfigReloads
from slosched_server.control import Control
from slosched_server.dashboard.dashboard import Dashboard
from slosched_server.errors import ApiError
from slosched_server.fleet import Fleet
from slosched_server.fleet_upstream import FleetUpstream
from slosched_server.http_upstream import HttpUpstream
from slosched_server.members import Connect
from slosched_server.rules import Rules
from slosched_server.tracing import Tracing
from slosched_server.upstream import RawHeaders
from tests.server.front_end import serving

COMPLETIONS = "/v1/completions"
ADMIN = {"authorization": "Bearer admin"}
_QUICK = ("fleet.probe_every_s=0.05", "fleet.plan_every_ms=10")


@dataclass(frozen=True, slots=True)
class OneAdmin(Access):
    """Everybody may ask, and one key administer."""

    def check_admin(self, headers: RawHeaders) -> None:
        if (b"authorization", b"Bearer admin") not in headers:
            raise ApiError(401, "no such key", "invalid_api_key")


class FleetConfig(LiveConfig):
    """Configuration with an admin's key."""

    def read(self, edits: Sequence[str] = ()) -> Rules:
        return replace(super().read(edits), access=OneAdmin())


@asynccontextmanager
async def fleet(
    urls: Sequence[str],
    *overrides: str,
    config: Path | None = None,
    tracing: Tracing | None = None,
    registry: CollectorRegistry | None = None,
) -> AsyncIterator[aiohttp.ClientSession]:
    """Serve before replicas r0, r1 ... of four slots, unless a file says whom; gives a client."""
    replicas = [{"url": url, "name": f"r{i}", "max_num_seqs": 4} for i, url in enumerate(urls)]
    named = [f"fleet.replicas={orjson.dumps(replicas).decode()}"] if urls else []
    source = FleetConfig(config, [*named, *_QUICK, *overrides], queue=True)
    control = Control(source)
    rules = control.in_force.rules.fleet
    assert rules
    connect: Connect = partial(HttpUpstream, connect_timeout_s=5.0)
    if tracing:
        connect = tracing.connecting(connect)
    async with AsyncExitStack() as stack:
        dispatcher = source.settings().dispatcher()
        registry = registry or CollectorRegistry()
        registry.register(ConfigReloads(control))
        behind = await stack.enter_async_context(
            Fleet(dispatcher, rules, connect, registry=registry)
        )
        dispatcher.warm_up()
        control.in_force.listen(behind.apply)
        admin = Admin(control, behind.members)
        dashboard = Dashboard(control.in_force, dispatcher)
        watchers = [tracing] if tracing else []
        app = create_app(
            source.settings().server,
            control.in_force,
            FleetUpstream(behind),
            registry,
            admin=admin,
            dashboard=dashboard,
            watchers=watchers,
        )
        url = await stack.enter_async_context(serving(app))
        yield await stack.enter_async_context(aiohttp.ClientSession(url))


async def ask(client: aiohttp.ClientSession, **body: Any) -> tuple[int, str, bytes]:
    """Ask, and return the status, the replica, and the answer."""
    async with client.post(COMPLETIONS, json={"prompt": "p", **body}) as got:
        return got.status, got.headers.get("x-slosched-replica", ""), await got.read()
