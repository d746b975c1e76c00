"""Network policies let through what has to pass, and nothing else."""

from typing import Any

import pytest

from tests.deploy.manifests import (
    OVERLAYS,
    Object,
    Objects,
    containers,
    of_kind,
    pods,
    ports,
    rendered,
    selects,
)

OWN = "slosched"
MONITORING = {name: ("gmp-system" if name == "gke" else "monitoring") for name in OVERLAYS}
STRANGER = ("elsewhere", {"app": "stranger"})
CASES = [(overlay, pod) for overlay in OVERLAYS for pod in pods(rendered(overlay))]


@pytest.mark.parametrize(("overlay", "target"), CASES)
def test_every_pod_has_a_policy(overlay: str, target: str) -> None:
    assert _policies(rendered(overlay), target)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_gateway_reaches_engines_and_picker(overlay: str) -> None:
    objects = rendered(overlay)
    assert _passes(objects, _gateway(overlay, objects), "vllm", "http")
    assert _passes(objects, _gateway(overlay, objects), "slosched-picker", "grpc")
    assert not _passes(objects, _gateway(overlay, objects), "slosched-picker", "metrics")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_picker_reaches_engines(overlay: str) -> None:
    objects = rendered(overlay)
    labels = pods(objects)["slosched-picker"]["metadata"]["labels"]
    assert _passes(objects, (OWN, labels), "vllm", "http")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_prometheus_reaches_metrics(overlay: str) -> None:
    objects, prometheus = rendered(overlay), (MONITORING[overlay], {"app": "prometheus"})
    assert _passes(objects, prometheus, "vllm", "http")
    assert _passes(objects, prometheus, "slosched-picker", "metrics")
    assert not _passes(objects, prometheus, "slosched-picker", "grpc")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_others_reach_nobody_but_the_gateway(overlay: str) -> None:
    objects = rendered(overlay)
    engine = (OWN, pods(objects)["vllm"]["metadata"]["labels"])
    for source in (STRANGER, (OWN, {"app": "stranger"}), engine):
        assert not _passes(objects, source, "vllm", "http")
        for port in ("grpc", "health", "metrics"):
            assert not _passes(objects, source, "slosched-picker", port)


def test_who_is_no_pod_reaches_the_gateway_of_plain_envoy() -> None:
    assert _passes(rendered("envoy"), "203.0.113.7", "envoy", "http")


Source = tuple[str, dict[str, str]] | str


def _gateway(overlay: str, objects: Objects) -> Source:
    if overlay == "gke":
        return "10.129.0.5"  # of a proxy-only subnet
    if overlay == "envoy":
        return OWN, pods(objects)["envoy"]["metadata"]["labels"]
    return OWN, {"gateway.networking.k8s.io/gateway-name": "inference-gateway"}


def _policies(objects: Objects, target: str) -> list[Object]:
    pod = pods(objects)[target]
    policies = of_kind(objects, "NetworkPolicy").values()
    return [one for one in policies if selects(one["spec"]["podSelector"]["matchLabels"], pod)]


def _passes(objects: Objects, source: Source, target: str, port: str) -> bool:
    assert port in ports(containers(objects)[target])
    return any(
        any(named["port"] == port for named in rule["ports"])
        and ("from" not in rule or any(_is(peer, source) for peer in rule["from"]))
        for policy in _policies(objects, target)
        for rule in policy["spec"]["ingress"]
    )


def _is(peer: dict[str, Any], source: Source) -> bool:
    if isinstance(source, str):
        from ipaddress import ip_address, ip_network

        block = peer.get("ipBlock")
        return block is not None and ip_address(source) in ip_network(block["cidr"])
    if "ipBlock" in peer:
        return False
    space, labels = source
    spaces = peer.get("namespaceSelector")
    if not (_matches(spaces, {"kubernetes.io/metadata.name": space}) if spaces else space == OWN):
        return False
    return "podSelector" not in peer or _matches(peer["podSelector"], labels)


def _matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    return wanted and all(
        labels.get(one["key"]) in one["values"] for one in selector.get("matchExpressions", ())
    )
