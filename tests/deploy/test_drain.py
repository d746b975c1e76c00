"""Before an Envoy is stopped, whoever it serves is served to the end: the script of its preStop."""

import asyncio
import contextlib
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import yaml

from slosched_server.listen import free_port
from tests.deploy.manifests import FOLDER, containers, of_kind, rendered

DRAIN = FOLDER / "overlays" / "envoy" / "drain.sh"
ENVOY = shutil.which("envoy", path=Path(sys.executable).parent) or "envoy"


def test_it_waits_for_the_last_answer(tmp_path: Path) -> None:
    async def main() -> None:
        answering = asyncio.Event()

        async def engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            await answering.wait()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone")
            writer.close()

        server = await asyncio.start_server(engine, "127.0.0.1", 0)
        behind = server.sockets[0].getsockname()[1]
        async with server, _envoy(tmp_path, behind) as (port, admin):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nhost: envoy\r\n\r\n")
            await _until(admin, "downstream_rq_active: 1")
            draining = await asyncio.create_subprocess_exec(
                "bash", str(_hasty(tmp_path)), str(admin)
            )
            await asyncio.sleep(1.5)  # it has asked at least once
            assert draining.returncode is None
            answering.set()
            head = await reader.readuntil(b"\r\n\r\n")
            assert (await reader.readexactly(4), b"connection: close" in head) == (b"done", True)
            writer.close()
            assert await draining.wait() == 0

    asyncio.run(main())


def test_without_an_envoy_it_ends_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        port = free_port("127.0.0.1", 0)
        draining = await asyncio.create_subprocess_exec(
            "bash", str(_hasty(tmp_path)), str(port), stderr=asyncio.subprocess.DEVNULL
        )
        assert await draining.wait() == 0

    asyncio.run(main())


def test_it_goes_by_names_of_our_configuration() -> None:
    objects = rendered("envoy")
    config = yaml.safe_load(of_kind(objects, "ConfigMap")[_config_name()]["data"]["envoy.yaml"])
    admin = config["admin"]["address"]["socket_address"]
    assert admin == {"address": "127.0.0.1", "port_value": 9901}
    assert "admin=${1:-9901}" in DRAIN.read_text()
    (listener,) = config["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    assert f"http.{manager['stat_prefix']}.downstream_rq_active" in DRAIN.read_text()


def _config_name() -> str:
    objects = rendered("envoy")
    (pod,) = (one for name, one in of_kind(objects, "Deployment").items() if name == "envoy")
    volumes = pod["spec"]["template"]["spec"]["volumes"]
    return str(next(one["configMap"]["name"] for one in volumes if one["name"] == "config"))


def _hasty(folder: Path) -> Path:
    """The script, which does not wait for others to notice."""
    script = folder / "drain.sh"
    script.write_text(DRAIN.read_text().replace("sleep 5", "sleep 0"))
    return script


@contextlib.asynccontextmanager
async def _envoy(folder: Path, behind: int) -> AsyncIterator[tuple[int, int]]:
    port, admin = free_port("127.0.0.1", 0), free_port("127.0.0.1", 0)
    file = folder / "envoy.yaml"
    file.write_text(yaml.safe_dump(_config(port, admin, behind)))
    shipped = containers(rendered("envoy"))["envoy"]["args"]
    arguments = [str(file) if word.startswith("/etc/") else word for word in shipped]
    process = await asyncio.create_subprocess_exec(
        ENVOY, *arguments, "--concurrency", "1", stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await _until(admin, "server.live: 1")
        yield port, admin
    finally:
        process.terminate()
        await process.wait()


async def _until(admin: int, wanted: str) -> None:
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", admin)
            writer.write(b"GET /stats HTTP/1.1\r\nhost: envoy\r\nconnection: close\r\n\r\n")
            page = (await reader.read()).decode()
            writer.close()
            if wanted in page:
                return
        await asyncio.sleep(0.05)


def _config(port: int, admin: int, behind: int) -> dict[str, object]:
    def at(number: int) -> dict[str, object]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    kinds = "type.googleapis.com/envoy.extensions.filters"
    manager = {
        "@type": f"{kinds}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "inference",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        {"match": {"prefix": "/"}, "route": {"cluster": "engine", "timeout": "0s"}}
                    ],
                }
            ]
        },
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"{kinds}.http.router.v3.Router"}}
        ],
    }
    endpoint = {"lb_endpoints": [{"endpoint": {"address": at(behind)}}]}
    return {
        "admin": {"address": at(admin)},
        "static_resources": {
            "listeners": [
                {
                    "name": "inference",
                    "address": at(port),
                    "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
                }
            ],
            "clusters": [
                {
                    "name": "engine",
                    "type": "STATIC",
                    "load_assignment": {"cluster_name": "engine", "endpoints": [endpoint]},
                }
            ],
        },
    }
