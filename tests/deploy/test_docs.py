"""What docs/kubernetes.md tells users to write does what it says."""

import re
from typing import Any

import yaml

from tests.deploy.manifests import ROOT, Objects, containers, of_a_user, of_kind, pods

PAGE = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
OURS = re.compile(r"\.\./slosched/deploy/kubernetes/(overlays|components)/(\S+)")


def _written(begins: str) -> dict[str, Any]:
    """Read the one block of YAML that begins so."""
    (block,) = (
        block for block in re.findall(r"(?ms)^```yaml\n(.*?)^```", PAGE) if block.startswith(begins)
    )
    found: dict[str, Any] = yaml.safe_load(block)
    return found


def _made(written: dict[str, Any]) -> Objects:
    """Return what a user's kustomization makes who has our files beside it."""
    more = dict(written)
    (overlay,) = (match[2] for match in map(OURS.fullmatch, more.pop("resources")) if match)
    parts = [match[2] for match in map(OURS.fullmatch, more.pop("components")) if match]
    return of_a_user(overlay, *parts, **more)


def test_an_overlay_of_ones_own() -> None:
    objects = _made(_written("# llm/kustomization.yaml"))
    assert set(of_kind(objects, "Namespace")) == {"llm"}
    assert {one["metadata"].get("namespace", "llm") for one in objects} == {"llm"}
    (gateway,) = of_kind(objects, "Gateway").values()
    assert gateway["spec"]["gatewayClassName"] == "agentgateway"
    vllm, picker = containers(objects)["vllm"], containers(objects)["slosched-picker"]
    assert vllm["image"] == "images.example.com/slosched-vllm:0.1.0"
    assert vllm["args"][-1] == "--model=org/other-model"
    assert picker["image"] == "images.example.com/slosched:0.1.0"
    assert any(arg.startswith("--ssl-certfile=") for arg in picker["args"])
    assert {"HorizontalPodAutoscaler", "ServiceMonitor"} <= {one["kind"] for one in objects}


def test_keys_are_added_to_it() -> None:
    written = _written("# llm/kustomization.yaml")
    written["patches"] += _written("# to be added to llm/kustomization.yaml")["patches"]
    objects = _made(written)
    picker = containers(objects)["slosched-picker"]
    assert picker["args"][-2] == "--set=access.keys=/etc/slosched-keys/keys.yaml"
    (mount,) = (one for one in picker["volumeMounts"] if one["name"] == "keys")
    assert mount["mountPath"] == "/etc/slosched-keys"
    volumes = pods(objects)["slosched-picker"]["spec"]["volumes"]
    assert {"name": "keys", "secret": {"secretName": "slosched-keys"}} in volumes
