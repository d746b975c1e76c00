"""What one object says of another is so: selectors, ports, names."""

from pathlib import Path
from typing import Any

import pytest

from slosched.config.load import load
from tests.deploy.manifests import (
    EVERYTHING,
    OVERLAYS,
    Objects,
    containers,
    of_kind,
    pods,
    ports,
    rendered,
    selected,
    values,
)


@pytest.fixture(params=[*OVERLAYS, EVERYTHING], scope="module")
def objects(request: pytest.FixtureRequest) -> Objects:
    return rendered(request.param)


def test_deployments_and_budgets_select_their_own_pods(objects: Objects) -> None:
    for kind in ("Deployment", "PodDisruptionBudget"):
        for name, one in of_kind(objects, kind).items():
            assert selected(objects, one["spec"]["selector"]["matchLabels"]) == [name]


def test_no_budget_counts_pickers(objects: Objects) -> None:
    """One of them is ready at a time: a budget would keep its node from being drained."""
    assert "slosched-picker" not in of_kind(objects, "PodDisruptionBudget")


def test_pods_spread_over_nodes_with_their_own_kind(objects: Objects) -> None:
    for name, pod in pods(objects).items():
        (spread,) = pod["spec"]["topologySpreadConstraints"]
        assert selected(objects, spread["labelSelector"]["matchLabels"]) == [name]


def test_services_lead_to_ports_that_are_served(objects: Objects) -> None:
    for one in of_kind(objects, "Service").values():
        (behind,) = selected(objects, one["spec"]["selector"])
        served = ports(containers(objects)[behind])
        for port in one["spec"]["ports"]:
            assert port["targetPort"] in served
            if behind != "envoy":  # nobody is between: numbers are the same on both sides
                assert port["port"] == served[port["targetPort"]]


def test_the_pool_is_of_engines_and_names_the_picker(objects: Objects) -> None:
    (pool,) = of_kind(objects, "InferencePool").values()
    (engines,) = selected(objects, pool["spec"]["selector"]["matchLabels"])
    container = containers(objects)[engines]
    assert pool["spec"]["targetPorts"] == [{"number": ports(container)["http"]}]
    reference = pool["spec"]["endpointPickerRef"]
    picker = of_kind(objects, "Service")[reference["name"]]
    assert reference["port"]["number"] in {port["port"] for port in picker["spec"]["ports"]}
    assert reference["failureMode"] == "FailClose"


def test_routes_objectives_and_policies_name_the_pool(objects: Objects) -> None:
    pools, gateways = of_kind(objects, "InferencePool"), of_kind(objects, "Gateway")
    for route in of_kind(objects, "HTTPRoute").values():
        assert {parent["name"] for parent in route["spec"]["parentRefs"]} <= gateways.keys()
        for backend in values(route, "backendRefs"):
            assert [(one["kind"], one["name"] in pools) for one in backend] == [
                ("InferencePool", True)
            ]
    for kind in ("HealthCheckPolicy", "GCPBackendPolicy"):
        for policy in of_kind(objects, kind).values():
            assert policy["spec"]["targetRef"]["name"] in pools
    for objective in of_kind(objects, "InferenceObjective").values():
        assert objective["spec"]["poolRef"]["name"] in pools


def test_probes_ask_ports_that_are_served(objects: Objects) -> None:
    for name, container in containers(objects).items():
        served = ports(container)
        for kind in ("livenessProbe", "readinessProbe"):
            (how,) = container[kind].keys() & {"grpc", "httpGet", "tcpSocket"}
            port = container[kind][how]["port"]
            assert port in served or port in served.values(), (name, kind)


def test_a_standby_lives_without_being_ready(objects: Objects) -> None:
    container = containers(objects)["slosched-picker"]
    asked = {kind: container[f"{kind}Probe"]["grpc"] for kind in ("liveness", "readiness")}
    health = ports(container)["health"]
    assert asked == {kind: {"port": health, "service": kind} for kind in asked}
    # A rollout that waited for a standby would wait for ever.
    strategy = of_kind(objects, "Deployment")["slosched-picker"]["spec"]["strategy"]
    assert strategy["rollingUpdate"] == {"maxSurge": "100%", "maxUnavailable": "100%"}


def test_mounts_have_volumes_and_these_have_sources(objects: Objects) -> None:
    configs = of_kind(objects, "ConfigMap")
    for pod in pods(objects).values():
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        (container,) = pod["spec"]["containers"]
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys()
        for volume in volumes.values():
            if "configMap" in volume:
                assert volume["configMap"]["name"] in configs


def test_files_that_commands_name_are_mounted(objects: Objects) -> None:
    configs = of_kind(objects, "ConfigMap")
    for pod in pods(objects).values():
        (container,) = pod["spec"]["containers"]
        for path in _paths(container):
            folder, _, file = path.rpartition("/")
            (volume,) = [
                volume
                for volume in pod["spec"]["volumes"]
                for mount in container["volumeMounts"]
                if (mount["name"], mount["mountPath"]) == (volume["name"], folder)
            ]
            if "configMap" in volume:
                assert file in configs[volume["configMap"]["name"]]["data"]
            else:
                assert file in {"tls.crt", "tls.key"}  # of a Secret of the type kubernetes.io/tls


def _paths(container: dict[str, Any]) -> list[str]:
    said = [*container.get("args", ()), *(env.get("value", "") for env in container.get("env", ()))]
    said += [word for command in values(container["lifecycle"], "command") for word in command]
    return [word.rpartition("=")[2] for word in said if word.rpartition("=")[2].startswith("/etc/")]


def test_there_is_time_to_stop(objects: Objects, tmp_path: Path) -> None:
    config = tmp_path / "slosched.yaml"
    config.write_text(of_kind(objects, "ConfigMap")["slosched"]["data"]["slosched.yaml"])
    server = load(config).server
    drains = {"slosched-picker": server.drain_delay_s + server.drain_timeout_s, "envoy": 0.0}
    for name, pod in pods(objects).items():
        (container,) = pod["spec"]["containers"]
        (command,) = values(container["lifecycle"]["preStop"], "command")
        before = int(command[1]) if command[0] == "sleep" else 305  # as drain.sh says
        if name == "vllm":
            (said,) = (word for word in container["args"] if word.startswith("--shutdown-timeout="))
            drains[name] = int(said.partition("=")[2])
        assert pod["spec"]["terminationGracePeriodSeconds"] > before + drains[name]
