"""The pods of a selector as a file that Envoy watches: what a Service would be.

There is no kube-proxy and no DNS here. In Envoy's bootstrap:

    type: EDS
    eds_cluster_config:
      eds_config:
        path_config_source: {path: FOLDER/eds.json, watched_directory: {path: FOLDER}}
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import orjson

from tests.cluster.api import NAMESPACE, Api, Object
from tests.cluster.control_plane import is_ready

_TYPE = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"


@asynccontextmanager
async def endpoints_file(
    api: Api,
    selector: str,
    port: int,
    path: Path,
    cluster: str,
    namespace: str = NAMESPACE,
    which: Callable[[Object], bool] = is_ready,
) -> AsyncIterator[Path]:
    """Keep `path` up to date while entered: the pods that match and are ready, at this port.

    Parameters
    ----------
    which
        Other pods than those that are ready: `has_address` is `publishNotReadyAddresses`.
    """
    await _write(path, cluster, port, [])

    async def keep() -> None:
        last = None
        async for pods in api.follow("v1", "Pod", namespace, labelSelector=selector):
            found = sorted(pod["status"]["podIP"] for pod in pods.values() if which(pod))
            if found != last:
                last = found
                await _write(path, cluster, port, found)

    keeping = asyncio.create_task(keep())
    try:
        yield path
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


def has_address(pod: Object) -> bool:
    """Whether a pod has an address, and has not ended."""
    status = pod.get("status", {})
    return "podIP" in status and status.get("phase") not in {"Succeeded", "Failed"}


async def _write(path: Path, cluster: str, port: int, addresses: list[str]) -> None:
    endpoints: list[Object] = [
        {"endpoint": {"address": {"socket_address": {"address": each, "port_value": port}}}}
        for each in addresses
    ]
    assignment: Object = {"@type": _TYPE, "cluster_name": cluster}
    if endpoints:
        assignment["endpoints"] = [{"lb_endpoints": endpoints}]
    new = path.with_suffix(".new")
    new.write_bytes(orjson.dumps({"resources": [assignment]}))
    new.rename(path)  # Envoy looks when a file is moved here, never at half of one
