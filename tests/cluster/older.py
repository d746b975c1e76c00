"""The shipped objects as a control plane of 1.20 takes them, on nodes that run processes.

All that is changed is here:

- kinds that 1.20 does not know, or that nothing here would act on, are left out: budgets of
  policy/v1, autoscalers of v2, what belongs to the Prometheus operator or to a gateway;
- ports of Services and containers name their protocol, as 1.20 wants when objects are applied;
- probes by gRPC are by HTTP: /health and /ready of the picker say the same;
- ports are on the pod's own address, as pods share the machine's network;
- the engine is simulated: small, so that queues form, and with steps of one length;
- Envoy runs beside the cluster, where files tell it of pods: there are no names to look up.
"""

import sys
from collections.abc import Iterable, Iterator
from copy import deepcopy

import yaml

from tests.cluster.api import Object
from tests.simulated_engine.serve import PROFILE

IMAGES = {"slosched:0.1.0": [sys.executable, "-m", "slosched"]}
"""What runs in place of an image."""
SLOTS = 4

_UNKNOWN = (
    "policy/v1",
    "autoscaling/v2",
    "monitoring.coreos.com/v1",
    "gateway.networking.k8s.io/v1",
)
_PATHS = {"liveness": "/health", "readiness": "/ready"}
_ADDRESS = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}


def older(objects: Iterable[Object], engines: int) -> Iterator[Object]:
    """Yield the objects as they are here; so many engines."""
    for shipped in objects:
        if shipped["apiVersion"] in _UNKNOWN:
            continue
        one = deepcopy(shipped)
        if one["kind"] == "Deployment":
            _change_pods(one, engines)
        elif (one["kind"], one["metadata"]["name"]) == ("ConfigMap", "slosched"):
            _change_engine(one["data"])
        elif one["kind"] == "Service":
            _name_protocol(one["spec"]["ports"])
        yield one


def _name_protocol(ports: list[Object]) -> None:
    for port in ports:
        port.setdefault("protocol", "TCP")


def _change_pods(deployment: Object, engines: int) -> None:
    name, spec = deployment["metadata"]["name"], deployment["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    _name_protocol(container["ports"])
    container.setdefault("env", []).insert(0, _ADDRESS)
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        if "grpc" in container.get(kind, {}):
            path = _PATHS[container[kind].pop("grpc")["service"]]
            container[kind]["httpGet"] = {"path": path, "port": "metrics"}
    if name == "slosched-picker":
        container["args"].append("--host=$(POD_IP)")
    elif name == "vllm":
        spec["replicas"] = engines
        container["command"] = [sys.executable, "-m", "slosched", "simulated-engine"]
        container["args"] = ["--host=$(POD_IP)", "--port=8000", "--scheduler=vllm-fcfs", "--quiet"]
    elif name == "envoy":
        spec["replicas"] = 0


def _change_engine(data: dict[str, str]) -> None:
    """Change what engines and picker read of engines; classes and all else are as shipped."""
    settings = yaml.safe_load(data["slosched.yaml"])
    settings["engine"] = {"profile": "/etc/slosched/steps.yaml", "max_num_seqs": SLOTS}
    data["slosched.yaml"] = yaml.safe_dump(settings)
    data["steps.yaml"] = PROFILE
