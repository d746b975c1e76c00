"""Pods may do what they have to, and nothing else."""

import pytest

from tests.deploy.manifests import (
    EVERYTHING,
    OVERLAYS,
    Objects,
    containers,
    of_kind,
    pods,
    rendered,
)


@pytest.fixture(params=[*OVERLAYS, EVERYTHING], scope="module")
def objects(request: pytest.FixtureRequest) -> Objects:
    return rendered(request.param)


def test_pods_keep_to_the_restricted_standard(objects: Objects) -> None:
    """Where a controller's are beside them, the namespace cannot ask that of all."""
    labels = of_kind(objects, "Namespace")["slosched"]["metadata"]["labels"]
    alone = not of_kind(objects, "Gateway")
    standard = "restricted" if alone else "baseline"
    assert labels["pod-security.kubernetes.io/enforce"] == standard
    assert alone or labels["pod-security.kubernetes.io/warn"] == "restricted"
    for pod in pods(objects).values():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
        kinds = {kind for volume in spec["volumes"] for kind in volume.keys() - {"name"}}
        assert kinds <= {"configMap", "emptyDir", "secret"}
    for container in containers(objects).values():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }


def test_pods_say_what_they_need(objects: Objects) -> None:
    for container in containers(objects).values():
        needs = container["resources"]
        assert needs["requests"].keys() >= {"cpu", "memory"}
        assert "memory" in needs["limits"]
        assert "cpu" not in needs["limits"]  # it would be slowed down in the middle of a plan


def test_services_are_no_variables_of_pods(objects: Objects) -> None:
    """SLOSCHED_PICKER_PORT would be a setting that there is not, VLLM_PORT one that is wrong."""
    for pod in pods(objects).values():
        assert pod["spec"]["enableServiceLinks"] is False


def test_only_the_picker_may_talk_to_the_api(objects: Objects) -> None:
    for name, pod in pods(objects).items():
        assert pod["spec"]["automountServiceAccountToken"] is (name == "slosched-picker")
    for account in of_kind(objects, "ServiceAccount").values():
        assert account["automountServiceAccountToken"] is False
