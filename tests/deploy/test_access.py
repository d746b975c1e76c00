"""The picker's rights are those that it uses, and no more."""

import pytest

from slosched_server.kubernetes.kinds import LEASES, OBJECTIVES, PODS, POOLS, SLICES, Kind
from tests.deploy.manifests import EVERYTHING, OVERLAYS, of_kind, rendered


@pytest.mark.parametrize("overlay", [*OVERLAYS, EVERYTHING])
def test_rights_are_to_look_and_to_hold_one_lease(overlay: str) -> None:
    objects = rendered(overlay)
    (role,) = of_kind(objects, "Role").values()
    (pool,) = of_kind(objects, "InferencePool")
    granted = {
        (group, resource, verb): rule.get("resourceNames")
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    mine = [f"slosched-picker-{pool}"]
    assert granted == {
        **{right: None for kind in (PODS, SLICES, *OBJECTIVES) for right in _looking_at(kind)},
        **{right: [pool] for right in _looking_at(POOLS)},
        (LEASES.group, LEASES.plural, "create"): None,
        (LEASES.group, LEASES.plural, "get"): mine,
        (LEASES.group, LEASES.plural, "update"): mine,
    }


def _looking_at(kind: Kind) -> list[tuple[str, str, str]]:
    return [(kind.group, kind.plural, verb) for verb in ("list", "watch")]


@pytest.mark.parametrize("overlay", [*OVERLAYS, EVERYTHING])
def test_rights_are_the_pickers_and_end_at_its_namespace(overlay: str) -> None:
    objects = rendered(overlay)
    (binding,) = of_kind(objects, "RoleBinding").values()
    deployment = of_kind(objects, "Deployment")["slosched-picker"]
    account = deployment["spec"]["template"]["spec"]["serviceAccountName"]
    assert account in of_kind(objects, "ServiceAccount")
    assert binding["subjects"] == [
        {
            "kind": "ServiceAccount",
            "name": account,
            "namespace": deployment["metadata"]["namespace"],
        }
    ]
    assert binding["roleRef"]["name"] in of_kind(objects, "Role")
    assert not of_kind(objects, "ClusterRole")
