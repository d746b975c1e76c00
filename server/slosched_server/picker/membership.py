"""Who of a cluster takes part, and whether this picker leads there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from slosched_server.control import Control
from slosched_server.kubernetes.api import open_api
from slosched_server.kubernetes.cluster import Cluster
from slosched_server.kubernetes.election import Election
from slosched_server.kubernetes.leases import ApiLeases
from slosched_server.kubernetes.metrics import KubernetesState
from slosched_server.members import Members
from slosched_server.picker.place import InCluster
from slosched_server.picker.role import Role


@asynccontextmanager
async def membership(
    place: InCluster, members: Members, control: Control, role: Role, registry: CollectorRegistry
) -> AsyncIterator[asyncio.Task[None]]:
    """Keep replicas, classes and the role as the cluster has them; gives what does, a task.

    On the way out the Lease is let go, so that a standby takes over at once.

    Raises
    ------
    ClusterError
        If nobody says where the cluster's API is.
    """
    async with open_api(place.kubeconfig, place.context) as api:
        cluster = Cluster(api, place.pool, place.namespace, members, control)
        election = None
        if place.identity:
            lease = ApiLeases(api, place.namespace, f"slosched-picker-{place.pool}")
            election = Election(lease, place.identity, role.lead)
        registry.register(KubernetesState(cluster, election))
        running = asyncio.create_task(_keep(cluster, election, role))
        try:
            yield running
        finally:
            running.cancel()
            await asyncio.wait({running})


async def _keep(cluster: Cluster, election: Election | None, role: Role) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(cluster.run())
        await cluster.wait_synced()
        role.know()
        # Whoever leads is to know the pool: only then is there an election.
        if election is not None:
            group.create_task(election.run())
