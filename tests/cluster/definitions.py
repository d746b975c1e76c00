"""Definitions of kinds that the control plane does not bring along: names and versions, no rules.

What fields may hold is for the schemas of tests/deploy.
"""

from tests.cluster.api import Object

_ANYTHING: Object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def definition(group: str, version: str, kind: str, plural: str) -> Object:
    """Define a kind of objects that live in namespaces."""
    annotations = {}
    if group.endswith(".k8s.io"):
        annotations["api-approved.kubernetes.io"] = "unapproved, for tests"
    served: Object = {"name": version, "served": True, "storage": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}", "annotations": annotations},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [served | {"schema": {"openAPIV3Schema": _ANYTHING}}],
        },
    }


# The older group of objectives is left out: most clusters have one of the two.
DEFINITIONS = (
    definition("inference.networking.k8s.io", "v1", "InferencePool", "inferencepools"),
    definition("llm-d.ai", "v1alpha2", "InferenceObjective", "inferenceobjectives"),
    # Newer control planes have it, and a controller that writes it; here tests do.
    definition("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"),
)
