"""Every object is one that an API server would take."""

import importlib.resources
import re

import jsonschema_rs
import kubernetes_validate
import pytest

from tests.deploy.custom_schemas import SPECS
from tests.deploy.manifests import EVERYTHING, OVERLAYS, Object, of_a_user, of_kind, rendered

OBJECTS = [
    pytest.param(one, id=f"{overlay}: {one['kind']} {one['metadata']['name']}")
    for overlay in (*OVERLAYS, EVERYTHING)
    for one in rendered(overlay)
]
_FOLDERS = importlib.resources.files(kubernetes_validate) / "kubernetes-json-schema"
_MINORS = sorted({int(re.split(r"[.-]", folder.name)[1]) for folder in _FOLDERS.iterdir()})
# As far back as docs/kubernetes.md says that it runs.
VERSIONS = [f"1.{minor}" for minor in _MINORS if minor >= 29]


@pytest.mark.parametrize("one", OBJECTS)
def test_objects_are_valid(one: Object) -> None:
    schema = SPECS.get((one["apiVersion"], one["kind"]))
    if schema is None:
        for version in VERSIONS:
            kubernetes_validate.validate(one, version, strict=True)
    else:
        assert one.keys() == {"apiVersion", "kind", "metadata", "spec"}
        jsonschema_rs.validate(schema, one["spec"])


def test_several_versions_are_asked() -> None:
    assert len(VERSIONS) >= 9


@pytest.mark.parametrize("overlay", [*OVERLAYS, EVERYTHING])
def test_all_is_in_one_namespace_and_said_once(overlay: str) -> None:
    found = [
        (one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"])
        for one in rendered(overlay)
    ]
    assert len(set(found)) == len(found)
    assert {space for kind, space, _ in found if kind != "Namespace"} == {"slosched"}
    assert ("Namespace", None, "slosched") in found


def test_another_namespace_is_one_line() -> None:
    objects = of_a_user("gpu", "autoscaling", namespace="llm")
    assert list(of_kind(objects, "Namespace")) == ["llm"]
    others = [one for one in objects if one["kind"] != "Namespace"]
    assert {one["metadata"]["namespace"] for one in others} == {"llm"}
    (binding,) = of_kind(objects, "RoleBinding").values()
    assert binding["subjects"][0]["namespace"] == "llm"


def test_a_misspelt_field_is_found() -> None:
    misspelt = {"poolRef": {"name": "vllm"}, "prority": 1}
    with pytest.raises(jsonschema_rs.ValidationError):
        jsonschema_rs.validate(SPECS["llm-d.ai/v1alpha2", "InferenceObjective"], misspelt)
