"""Envoy, the real one, sends to the pods that are ready now."""

import asyncio
import sys
from functools import partial
from pathlib import Path

import aiohttp
import yaml

from tests.cluster.api import Object
from tests.cluster.control_plane import ControlPlane
from tests.cluster.eds import endpoints_file
from tests.cluster.objects import PORT, deployment
from tests.cluster.programs import stop

SERVER = f"""
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(os.environ["POD_IP"].encode())
http.server.HTTPServer((os.environ["POD_IP"], {PORT}), Handler).serve_forever()
"""


def bootstrap(address: str, eds: Path) -> Object:
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network."
        "http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "pods"}}],
                }
            ]
        },
        "http_filters": [
            {
                "name": "router",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
                },
            }
        ],
    }
    listener = {
        "name": "in",
        "address": {"socket_address": {"address": address, "port_value": 8080}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    source = {"path": str(eds), "watched_directory": {"path": str(eds.parent)}}
    cluster = {
        "name": "pods",
        "type": "EDS",
        "eds_cluster_config": {"eds_config": {"path_config_source": source}},
    }
    return {
        "node": {"id": "test", "cluster": "test"},
        "static_resources": {"listeners": [listener], "clusters": [cluster]},
    }


def test_envoy_sends_to_the_pods_that_are_ready_now(tmp_path: Path) -> None:
    probe = {"tcpSocket": {"port": PORT}, "periodSeconds": 1}
    web = deployment("web", 2, [sys.executable, "-c", SERVER], readinessProbe=probe)
    folder = tmp_path / "eds"
    folder.mkdir()

    async def run() -> None:
        async with (
            ControlPlane(tmp_path) as plane,
            plane.node("n1"),
            endpoints_file(plane.api, "app=web", PORT, folder / "pods.json", "pods") as eds,
            aiohttp.ClientSession(f"http://{plane.address}:8080") as client,
        ):
            config = tmp_path / "envoy.yaml"
            config.write_text(yaml.safe_dump(bootstrap(plane.address, eds)))
            envoy = ["envoy", "-c", str(config), "--disable-hot-restart", "--concurrency", "1"]
            process = await plane.programs.start("envoy", envoy)

            async def reached(count: int) -> bool:
                ready = {pod["status"]["podIP"] for pod in await plane.ready("app=web")}
                seen = set()
                for _ in range(4 * count):
                    async with client.get("/") as response:
                        seen.add(await response.text())
                return seen == ready and len(seen) == count

            await plane.apply([web])
            for replicas in (2, 3, 1):
                await plane.scale("Deployment", "web", replicas)
                await plane.until(partial(reached, replicas))
            await stop(process, 5.0)

    asyncio.run(run())
