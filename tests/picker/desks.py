"""The picker's parts in this process: its desk, with replicas that need not be there."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import orjson
from prometheus_client import CollectorRegistry

from slosched.config.live import LiveConfig
from slosched.core.fleet import FleetSolver
from slosched.dispatch import Binding, Dispatcher
from slosched.dispatch.assignments.planned import PlannedFleet
from slosched_server.control import Control
from slosched_server.dashboard.dashboard import Dashboard
from slosched_server.fleet import Fleet
from slosched_server.http_upstream import HttpUpstream
from slosched_server.members import Connect
from slosched_server.metrics import Metrics
from slosched_server.picker.desk import Desk
from slosched_server.picker.health import Health
from slosched_server.picker.place import Place
from slosched_server.picker.ports import opened
from slosched_server.picker.role import Role
from slosched_server.status_app import status_app
from slosched_server.upstream import Job, UpstreamAnswer, UpstreamRequest
from slosched_server.watcher import Watcher, Watchers

REAL: Connect = partial(HttpUpstream, connect_timeout_s=5.0)
ONE, TWO = "http://10.0.0.1:8000", "http://10.0.0.2:8000"
_QUICK = ("fleet.probe_every_s=0.05", "fleet.plan_every_ms=10")
_SOON_S = 60.0


@dataclass
class FakeProbes:
    """Answers looks at replicas, in their place: those are well that nobody calls ill."""

    ill: set[str] = field(default_factory=set)

    @asynccontextmanager
    async def connect(self, url: str) -> AsyncIterator["_FakeReplica"]:
        yield _FakeReplica(self, url)


class _FakeReplica:
    def __init__(self, probes: FakeProbes, url: str) -> None:
        self._probes, self._url = probes, url

    @asynccontextmanager
    async def send(self, request: UpstreamRequest) -> AsyncIterator[UpstreamAnswer]:
        well = request.target == "/health" and self._url not in self._probes.ill
        yield UpstreamAnswer(200 if well else 503, (), _nothing())


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


class Recorder(Watcher):
    """Keeps which requests there were, and what became of each."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def begin(self, job: Job, scope: object) -> None:  # noqa: ARG002 - as all watchers
        self.jobs.append(job)

    def end(self, job: Job, now: float) -> None:
        pass

    def refuse(self, error: Exception, scope: object, request_id: str) -> None:
        pass

    @property
    def outcomes(self) -> list[str]:
        return [job.progress.outcome for job in self.jobs]


@dataclass
class Picker:
    """A picker without ports."""

    desk: Desk
    control: Control
    health: Health
    role: Role
    told: Recorder
    metrics: Metrics
    registry: CollectorRegistry

    @property
    def dispatcher(self) -> Dispatcher:
        return self.desk.fleet.dispatcher

    @property
    def empty(self) -> bool:
        """Whether nobody waits, and no replica has anything (law 1)."""
        given = [replica.given for replica in self.dispatcher.replicas]
        return self.dispatcher.waiting == 0 and not any(given) and self.desk.busy == 0

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(_SOON_S):
            while not holds():  # noqa: ASYNC110 - a queue has no events
                await asyncio.sleep(0.005)

    async def until_waiting(self, requests: int) -> None:
        await self.until(lambda: self.dispatcher.waiting == requests)

    async def until_ready(self, replicas: int) -> None:
        await self.until(lambda: len(self.dispatcher.ready) == replicas)

    async def until_empty(self) -> None:
        await self.until(lambda: self.empty)

    def bindings(self) -> list[Binding]:
        """Return a list to which whoever is bound from now on is added, in that order."""
        kept: list[Binding] = []
        release = self.dispatcher.release

        def recorded() -> list[Binding]:
            bound = release()
            kept.extend(bound)
            return bound

        vars(self.dispatcher)["release"] = recorded
        return kept


@asynccontextmanager
async def desk(
    *overrides: str,
    urls: Sequence[str] = (ONE, TWO),
    slots: int = 4,
    config: Path | None = None,
    connect: Connect | None = None,
    leads: bool = True,
    solver: FleetSolver | None = None,
) -> AsyncIterator[Picker]:
    """Make one before replicas r0, r1 ..., with the solver that ships unless there is another."""
    replicas = [{"url": url, "name": f"r{i}", "max_num_seqs": slots} for i, url in enumerate(urls)]
    named = f"fleet.replicas={orjson.dumps(replicas).decode()}"
    source = LiveConfig(config, [named, *_QUICK, *overrides], queue=True)
    control, registry = Control(source), CollectorRegistry()
    rules = control.in_force.rules.fleet
    assert rules
    connect, settings = connect or FakeProbes().connect, source.settings()
    async with Fleet(settings.dispatcher(), rules, connect, registry=registry) as fleet:
        if solver is not None:
            fleet.dispatcher.change(PlannedFleet(solver), rules.fairness)
        fleet.dispatcher.warm_up()
        control.in_force.listen(fleet.apply)
        told, health = Recorder(), Health()
        metrics = Metrics(registry)
        watcher = Watchers([metrics, told])
        made = Desk(fleet, control.in_force, watcher, settings.server.max_body_bytes)
        role = Role(made, health, leads=leads, knows=True)
        watching = asyncio.create_task(role.watch())
        try:
            yield Picker(made, control, health, role, told, metrics, registry)
        finally:
            watching.cancel()
            await asyncio.wait({watching})


@asynccontextmanager
async def listening(picker: Picker) -> AsyncIterator[tuple[str, str, str]]:
    """Open its ports; gives the addresses for Envoy and for health checks, and the status URL."""
    source = picker.control.source
    assert isinstance(source, LiveConfig)
    in_force = picker.control.in_force
    dashboard = Dashboard(in_force, picker.dispatcher)
    app = status_app(in_force, picker.metrics, picker.role.ready, None, dashboard)
    async with AsyncExitStack() as stack:
        place = Place("127.0.0.1", 0, 0, 0)
        ports = await stack.enter_async_context(
            opened(
                place, source.settings().server, picker.desk, picker.health, app, picker.registry
            )
        )
        host = "127.0.0.1"
        yield f"{host}:{ports.picker}", f"{host}:{ports.health}", f"http://{host}:{ports.status}"
