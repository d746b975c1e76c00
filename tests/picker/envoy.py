"""A real Envoy with the configuration that ships, on free ports of this machine."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from slosched_server.listen import free_port

SHIPPED = Path(__file__).parents[2] / "deploy" / "envoy" / "envoy.yaml"
_HOST = "127.0.0.1"
_STARTS_S = 60.0


@dataclass(frozen=True)
class Envoy:
    """A running Envoy.

    Parameters
    ----------
    url, admin
        Where clients ask, and where it tells of itself.
    folder
        Of the files that say where replicas and pickers are.
    """

    url: str
    admin: str
    folder: Path
    process: asyncio.subprocess.Process

    def endpoints(self, cluster: str, addresses: Sequence[str]) -> None:
        """Let a cluster (`vllm` or `picker`) have these endpoints from now on."""
        _write_endpoints(self.folder, cluster, addresses)

    async def stats(self, only: str) -> dict[str, int]:
        """Return counters whose names hold some text."""
        async with (
            aiohttp.ClientSession(self.admin) as client,
            client.get(f"/stats?format=json&filter={only}") as got,
        ):
            found = (await got.json())["stats"]
        return {one["name"]: one["value"] for one in found if "value" in one}


@asynccontextmanager
async def envoy(
    folder: Path,
    pickers: Sequence[str],
    replicas: Sequence[str],
    *,
    shows_answers: bool = False,
    looks: bool = True,
    changed: dict[str, Any] | None = None,
) -> AsyncIterator[Envoy]:
    """Run it before replicas, asking pickers; addresses are `ip:port`.

    Parameters
    ----------
    shows_answers
        Whether bodies are sent to the picker piece by piece, both ways, as the protocol has it; as
        shipped those of requests come whole, and those of answers not at all.
    looks
        Whether pickers are asked how they are, as shipped.
    changed
        Fields of the external processing filter that are to be others than those that ship.
    """
    port, admin_port = free_port(_HOST, 0), free_port(_HOST, 0)
    written = _config(folder, port, admin_port, shows_answers=shows_answers, changed=changed or {})
    if not looks:
        _let_be(written)
    _write_endpoints(folder, "vllm", replicas)
    _write_endpoints(folder, "picker", pickers)
    with (folder / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(str(Path(sys.executable).parent / "envoy"), "-c", str(written)),
            *("--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"),
            stdout=log,
            stderr=log,
        )
    admin = f"http://{_HOST}:{admin_port}"
    try:
        running = Envoy(f"http://{_HOST}:{port}", admin, folder, process)
        await _until_ready(running, with_picker=bool(pickers))
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _config(
    folder: Path, port: int, admin_port: int, *, shows_answers: bool, changed: dict[str, Any]
) -> Path:
    document = yaml.safe_load(SHIPPED.read_text())
    document["node"] = {"id": "test", "cluster": "test"}
    document["admin"]["address"]["socket_address"]["port_value"] = admin_port
    [listener] = document["static_resources"]["listeners"]
    listener["address"]["socket_address"] = {"address": _HOST, "port_value": port}
    [chain] = listener["filter_chains"]
    filters = chain["filters"][0]["typed_config"]["http_filters"]
    processing = filters[0]["typed_config"]
    if shows_answers:
        streamed = {"request_body_mode": "FULL_DUPLEX_STREAMED", "request_trailer_mode": "SEND"}
        processing["processing_mode"].update(streamed, response_body_mode="FULL_DUPLEX_STREAMED")
    processing.update(changed)
    for cluster in document["static_resources"]["clusters"]:
        name = cluster["name"]
        for field in ("dns_refresh_rate", "respect_dns_ttl", "load_assignment"):
            cluster.pop(field, None)
        path = {"path": str(folder / f"{name}.yaml"), "watched_directory": {"path": str(folder)}}
        source = {"path_config_source": path, "resource_api_version": "V3"}
        cluster.update(type="EDS", eds_cluster_config={"eds_config": source})
    written = folder / "envoy.yaml"
    written.write_text(yaml.safe_dump(document))
    return written


def _let_be(written: Path) -> None:
    """Take the looks at pickers out of a configuration."""
    document = yaml.safe_load(written.read_text())
    for cluster in document["static_resources"]["clusters"]:
        cluster.pop("health_checks", None)
    written.write_text(yaml.safe_dump(document))


def _write_endpoints(folder: Path, cluster: str, addresses: Sequence[str]) -> None:
    """Write a cluster's endpoints, and move the file into place, which Envoy sees."""
    pairs = [address.rsplit(":", 1) for address in addresses]
    sockets = [{"address": host, "port_value": int(port)} for host, port in pairs]
    hosts = [{"endpoint": {"address": {"socket_address": one}}} for one in sockets]
    resource = {
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": cluster,
        "endpoints": [{"lb_endpoints": hosts}],
    }
    new = folder / f"{cluster}.new"
    new.write_text(yaml.safe_dump({"resources": [resource]}))
    new.replace(folder / f"{cluster}.yaml")


async def _until_ready(running: Envoy, *, with_picker: bool) -> None:
    """Wait until it listens, and has found a picker that is well."""
    async with asyncio.timeout(_STARTS_S):
        while True:
            await asyncio.sleep(0.05)
            assert running.process.returncode is None, (running.folder / "envoy.log").read_text()
            try:
                well = await running.stats("cluster.picker.membership_healthy")
            except aiohttp.ClientError:
                continue
            if not with_picker or any(well.values()):
                return
