"""A pool of the cluster: its ready Pods take part, and its class objects are in force."""

import asyncio
from collections.abc import Mapping
from typing import NoReturn

import structlog

from slosched_server.control import Control
from slosched_server.kubernetes.api import Api
from slosched_server.kubernetes.complaints import Complaints
from slosched_server.kubernetes.kinds import OBJECTIVES, PODS, POOLS, SLICES
from slosched_server.kubernetes.objectives import Objectives
from slosched_server.kubernetes.pods import engines, is_serving, unknown_annotations
from slosched_server.kubernetes.pool import Pool, read_pool
from slosched_server.kubernetes.replicas import Replicas
from slosched_server.kubernetes.slices import withheld
from slosched_server.kubernetes.watch import Tally, Watch, WatchTimes
from slosched_server.members import Members
from slosched_server.rules import Rules

log = structlog.get_logger()

_SOURCE = "kubernetes"


class Cluster:
    """Keeps replicas and classes as the cluster's objects have them.

    Whatever changes, all is looked at again: where the objects are the same in the end, so are
    replicas and classes, whichever way they came there.

    A Pod serves if it says so itself and no EndpointSlice denies it: watches of both may lag, and
    whichever is the first to say that it goes is believed. Slices are not waited for: where there
    are none, or none may be seen, Pods say enough.

    Parameters
    ----------
    api
        Of the cluster.
    pool, namespace
        The InferencePool's.
    members, control
        What is kept.
    times
        How patient watches are.

    Attributes
    ----------
    tally
        Lists and failures by kind, for metrics.
    """

    def __init__(
        self,
        api: Api,
        pool: str,
        namespace: str,
        members: Members,
        control: Control,
        *,
        times: WatchTimes | None = None,
    ) -> None:
        self.tally = Tally()
        self._api, self._namespace, self._times = api, namespace, times
        self._members, self._control = members, control
        self._dirty, self._synced = asyncio.Event(), asyncio.Event()
        only = {"fieldSelector": f"metadata.name={pool}"}
        self._pools = Watch(
            api, POOLS, namespace, self._dirty.set, only, times=times, tally=self.tally
        )
        self._objects = [
            Watch(api, kind, namespace, self._dirty.set, times=times, tally=self.tally)
            for kind in OBJECTIVES
        ]
        self._slices = Watch(api, SLICES, namespace, self._dirty.set, times=times, tally=self.tally)
        self._objectives = Objectives(pool)
        self._replicas = Replicas(control.source)
        self._pool: Pool | None = None
        self._pool_name = pool
        self._pods: Watch | None = None
        self._watching_pods: asyncio.Task[NoReturn] | None = None
        self._wrong_pools = Complaints("no such pool to serve", "pool")
        self._wrong_pods = Complaints("annotations of a Pod have no effect", "pod")
        control.in_force.listen(self._on_rules)

    @property
    def synced(self) -> bool:
        """Whether all was known once, and is in force."""
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        """Wait until all is known, and in force."""
        await self._synced.wait()

    async def run(self) -> None:
        """Keep all as the cluster has it until cancelled."""
        async with asyncio.TaskGroup() as group:
            for watch in (self._pools, *self._objects, self._slices):
                group.create_task(watch.run())
            while True:
                await self._dirty.wait()
                self._dirty.clear()
                self._keep_classes()
                self._keep_pool(group)
                self._keep_replicas()

    def _on_rules(self, _: Rules) -> None:
        self._replicas.forget()
        self._dirty.set()

    def _keep_classes(self) -> None:
        if not all(watch.synced.is_set() for watch in self._objects):
            return
        if self._objectives.replace(
            item for watch in self._objects for item in watch.objects.values()
        ):
            self._control.lay(self._objectives)

    def _keep_pool(self, group: asyncio.TaskGroup) -> None:
        """Watch the Pods that the pool selects; other ones when it selects others."""
        if not self._pools.synced.is_set():
            return
        pool, wrong = self._read_pool()
        self._wrong_pools.say(wrong)
        before, self._pool = self._pool, pool
        if before and pool and before.selector == pool.selector:
            return
        if self._watching_pods is not None:
            self._watching_pods.cancel()
            self._watching_pods = self._pods = None
        if pool is not None:
            self._pods = Watch(
                self._api,
                PODS,
                self._namespace,
                self._dirty.set,
                {"labelSelector": pool.selector},
                times=self._times,
                tally=self.tally,
            )
            self._watching_pods = group.create_task(self._pods.run())

    def _read_pool(self) -> tuple[Pool | None, Mapping[str, str]]:
        """Return the pool, and what is wrong with it; one that is wrong is as it was."""
        item = self._pools.objects.get(self._pool_name)
        if item is None:
            return None, {self._pool_name: "there is none of this name"}
        try:
            return read_pool(item), {}
        except ValueError as error:
            return self._pool, {self._pool_name: str(error)}

    def _keep_replicas(self) -> None:
        if not self._pools.synced.is_set():
            return
        if self._pool is None:
            self._members.configure([], _SOURCE)
            return
        if self._pods is None or not self._pods.synced.is_set():
            return  # what was known stays until more is known
        wrong: dict[str, str] = {}
        members, taken = [], self._members.urls
        denied = withheld(self._slices.objects.values())
        for name, pod in sorted(self._pods.objects.items()):
            if unknown := unknown_annotations(pod):
                wrong[name] = f"unknown: {', '.join(unknown)}"
            serves = is_serving(pod) and pod["metadata"].get("uid") not in denied
            for engine in engines(pod, self._pool.ports) if serves else ():
                member, reason = self._replicas.make(engine, engine.called(taken))
                members.append(member)
                if reason:
                    wrong[name] = reason
        self._wrong_pods.say(wrong)
        self._members.configure(members, _SOURCE)
        if not self.synced and all(watch.synced.is_set() for watch in self._objects):
            log.info("pool known", pool=self._pool_name, replicas=len(members))
            self._synced.set()
