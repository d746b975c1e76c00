"""Objects that tests of the harness apply."""

import sys

from tests.cluster.api import Object

PORT = 8000


def deployment(name: str, replicas: int, command: list[str], **container: object) -> Object:
    """Make a Deployment of one container, whose pods are labelled `app: NAME`."""
    labels = {"app": name}
    address = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    described = {"name": "main", "image": "none", "command": command, "env": [address]}
    pod = {"containers": [described | container], "terminationGracePeriodSeconds": 5}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def engine_command() -> list[str]:
    """Give the command of a simulated engine on the pod's own address."""
    command = [
        sys.executable,
        "-m",
        "slosched",
        "simulated-engine",
        "--profile=h100-llama2-70b-tp8",
    ]
    return [*command, "--host=$(POD_IP)", f"--port={PORT}", "--speed=100", "--quiet"]


def engines(name: str, replicas: int) -> Object:
    """Make a Deployment of simulated engines, which are ready once they answer."""
    probe = {"httpGet": {"path": "/health", "port": PORT}, "periodSeconds": 1}
    return deployment(name, replicas, engine_command(), readinessProbe=probe)


def network_of(pod: Object) -> str:
    """Give the first three bytes of a pod's address: its node's."""
    return str(pod["status"]["podIP"]).rpartition(".")[0]
