"""The Lease that whoever leads holds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from slosched_server.kubernetes.api import Api, ClusterError
from slosched_server.kubernetes.kinds import LEASES, Object


class Leases(Protocol):
    """One Lease, which may be there or not; every call raises `ClusterError`."""

    async def read(self) -> Object | None:
        """Return it as it is; None if there is none."""
        ...

    async def create(self, spec: Mapping[str, Any]) -> Object:
        """Make it, and return it; status 409 if it is there already."""
        ...

    async def replace(self, lease: Object, spec: Mapping[str, Any]) -> Object:
        """Put a spec in place of another, and return it; 409 if it has changed since."""
        ...


@dataclass(frozen=True, slots=True)
class ApiLeases:
    """A Lease of the cluster; see `Leases`."""

    api: Api
    namespace: str
    name: str

    async def read(self) -> Object | None:
        """See `Leases`."""
        try:
            return await self.api.ask("GET", LEASES.path(self.namespace, self.name))
        except ClusterError as error:
            if error.status == 404:
                return None
            raise

    async def create(self, spec: Mapping[str, Any]) -> Object:
        """See `Leases`."""
        lease = {
            "apiVersion": f"{LEASES.group}/{LEASES.version}",
            "kind": "Lease",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": spec,
        }
        return await self.api.ask("POST", LEASES.path(self.namespace), body=lease)

    async def replace(self, lease: Object, spec: Mapping[str, Any]) -> Object:
        """See `Leases`."""
        path = LEASES.path(self.namespace, self.name)
        return await self.api.ask("PUT", path, body={**lease, "spec": spec})
