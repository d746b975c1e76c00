"""What pods see, and what becomes of them, on the test-only kubelet."""

import asyncio
import sys
from pathlib import Path

import pytest

from tests.cluster.api import Object
from tests.cluster.control_plane import ControlPlane
from tests.cluster.objects import PORT, deployment

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
SERVER = [sys.executable, "-m", "http.server", "--bind=$(POD_IP)", str(PORT)]
ASKS_FOR_PODS = f"""
import os, ssl, urllib.request
url = "https://{{KUBERNETES_SERVICE_HOST}}:{{KUBERNETES_SERVICE_PORT}}".format(**os.environ)
namespace = open("{ACCOUNT}/namespace").read()
token = open("{ACCOUNT}/token").read()
request = urllib.request.Request(f"{{url}}/api/v1/namespaces/{{namespace}}/pods")
request.add_header("Authorization", f"Bearer {{token}}")
context = ssl.create_default_context(cafile="{ACCOUNT}/ca.crt")
try:
    urllib.request.urlopen(request, context=context)
except urllib.error.HTTPError as error:
    print(error.read().decode())
"""


def job(name: str, script: str, **pod: object) -> Object:
    described = {"name": "main", "image": "none", "command": ["bash", "-c", script]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"restartPolicy": "Never", "containers": [described], **pod},
    }


def unlink(folder: Path, pattern: str) -> None:
    next(folder.glob(pattern)).unlink()


async def result(plane: ControlPlane, name: str) -> tuple[str, str]:
    """Wait for a pod's end; gives its phase and its output."""

    async def phase() -> str | None:
        found = (await plane.api.get("v1", "Pod", name))["status"]["phase"]
        return found if found in {"Succeeded", "Failed"} else None

    return await plane.until(phase) or "", plane.log(name)


def test_a_pod_sees_its_volumes_its_environment_and_its_service_account(tmp_path: Path) -> None:
    settings: Object = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "settings"},
        "data": {"a.yaml": "a: 1\n", "GREETING": "hello"},
    }
    pod = job(
        "sees",
        'cat /etc/slosched/a.yaml /models/one; echo "$WHO"; grep -c . /etc/passwd > /dev/null\n'
        f"{sys.executable} - <<'END'\n{ASKS_FOR_PODS}\nEND\nexit 3",
        volumes=[
            {"name": "settings", "configMap": {"name": "settings"}},
            {"name": "models", "emptyDir": {}},
        ],
        initContainers=[
            {
                "name": "first",
                "image": "none",
                "command": ["bash", "-c", "echo fetched > /models/one"],
                "volumeMounts": [{"name": "models", "mountPath": "/models"}],
            }
        ],
    )
    container = pod["spec"]["containers"][0]
    container["volumeMounts"] = [
        {"name": "settings", "mountPath": "/etc/slosched"},
        {"name": "models", "mountPath": "/models"},
    ]
    container["envFrom"] = [{"configMapRef": {"name": "settings"}}]
    container["env"] = [
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "WHO", "value": "$(GREETING) $(IP) $(NOBODY) $$(IP)"},
    ]

    async def run() -> None:
        async with ControlPlane(tmp_path) as plane, plane.node("n1") as node:
            await plane.apply([settings, pod])
            phase, output = await result(plane, "sees")
            assert phase == "Failed"
            assert output.startswith(f"a: 1\nfetched\nhello {node.network}.2 $(NOBODY) $(IP)\n")
            # It was known by its token, and may nothing.
            assert "system:serviceaccount:default:default" in output
            assert "cannot list resource" in output
            ended = (await plane.api.get("v1", "Pod", "sees"))["status"]["containerStatuses"][0]
            assert ended["state"]["terminated"]["exitCode"] == 3

    asyncio.run(run())
    assert not Path("/etc/slosched").exists()


def test_a_pod_ends_by_sigterm_within_its_grace_and_by_sigkill_after_it(tmp_path: Path) -> None:
    polite = job("polite", "trap 'echo ends; exit 0' TERM; echo runs; while :; do sleep 0.1; done")
    stubborn = job("stubborn", "trap '' TERM; echo runs; while :; do sleep 0.1; done")
    stubborn["spec"]["terminationGracePeriodSeconds"] = 1

    async def run() -> None:
        async with ControlPlane(tmp_path) as plane, plane.node("n1"):
            await plane.apply([polite, stubborn])
            for name in ("polite", "stubborn"):

                async def runs(name: str = name) -> bool:
                    return "runs" in plane.log(name)

                await plane.until(runs)
                await plane.api.delete("v1", "Pod", name)

            async def gone() -> bool:
                return await plane.api.find("v1", "Pod") == []

            await plane.until(gone)
            assert "ends" in plane.log("polite")

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["exec", "httpGet"])
def test_a_container_that_is_not_live_starts_again(tmp_path: Path, kind: str) -> None:
    probes: dict[str, Object] = {
        "exec": {"exec": {"command": ["test", "-e", "/state/lives"]}},
        "httpGet": {"httpGet": {"path": "/lives", "port": "web"}},
    }
    serve = f"touch /state/lives; cd /state; {' '.join(SERVER)}"
    sick = deployment(
        "sick",
        1,
        ["bash", "-c", serve],
        ports=[{"name": "web", "containerPort": PORT}],
        startupProbe=probes["httpGet"] | {"periodSeconds": 1, "failureThreshold": 60},
        livenessProbe=probes[kind] | {"periodSeconds": 1, "failureThreshold": 1},
        volumeMounts=[{"name": "state", "mountPath": "/state"}],
    )
    sick["spec"]["template"]["spec"]["volumes"] = [{"name": "state", "emptyDir": {}}]

    async def run() -> None:
        async with ControlPlane(tmp_path) as plane, plane.node("n1"):
            await plane.apply([sick])
            pod = (await plane.until_ready("app=sick", 1))[0]["metadata"]["name"]
            unlink(tmp_path, "n1/sick-*/state/lives")

            async def restarted() -> bool:
                found = await plane.api.get("v1", "Pod", pod)
                return bool(found["status"]["containerStatuses"][0]["restartCount"])

            await plane.until(restarted)
            await plane.until_ready("app=sick", 1)

    asyncio.run(run())
