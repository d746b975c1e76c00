"""The environment of a container, and `$(NAME)` in its command, as the API describes them."""

import re
from base64 import b64decode
from collections.abc import Mapping, Sequence

from tests.cluster.api import Api, ApiError, Object

_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_.-][\w.-]*)\)")
_LABELLED = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


def expand(text: str, known: Mapping[str, str]) -> str:
    """Put in what is known; what is not stays as it is, and $$ is a dollar sign."""

    def value(match: re.Match[str]) -> str:
        return "$" if match[1] is None else known.get(match[1], match[0])

    return _REFERENCE.sub(value, text)


def field(pod: Object, path: str) -> str:
    """Read a field of a pod as the downward API names it."""
    if labelled := _LABELLED.fullmatch(path):
        return str(pod["metadata"].get(labelled[1], {}).get(labelled[2], ""))
    found = pod
    for key in path.split("."):
        found = found[key]
    return str(found)


async def environment(
    api: Api, pod: Object, container: Object, first: Mapping[str, str]
) -> dict[str, str]:
    """Resolve a container's environment; later entries see earlier ones."""
    namespace = pod["metadata"]["namespace"]
    known = dict(first)
    for source in container.get("envFrom", []):
        for kind, reference in _references(source):
            data = await values(api, namespace, kind, reference)
            known |= {source.get("prefix", "") + k: v for k, v in data.items()}
    for entry in container.get("env", []):
        name, value = entry["name"], entry.get("value", "")
        if "valueFrom" not in entry:
            known[name] = expand(value, known)
        elif "fieldRef" in entry["valueFrom"]:
            known[name] = field(pod, entry["valueFrom"]["fieldRef"]["fieldPath"])
        else:
            for kind, reference in _references(entry["valueFrom"]):
                data = await values(api, namespace, kind, reference)
                if reference["key"] in data or not reference.get("optional"):
                    known[name] = data[reference["key"]]
    return known


async def values(api: Api, namespace: str, kind: str, reference: Object) -> dict[str, str]:
    """Read the texts of a ConfigMap or a Secret; none of one that is optional and not there."""
    try:
        found = await api.get("v1", kind, reference["name"], namespace)
    except ApiError as error:
        if error.status == 404 and reference.get("optional"):
            return {}
        raise
    data: dict[str, str] = found.get("data") or {}
    if kind == "Secret":
        return {key: b64decode(value).decode() for key, value in data.items()}
    return data


def _references(source: Object) -> Sequence[tuple[str, Object]]:
    kinds = {
        "configMapRef": "ConfigMap",
        "configMapKeyRef": "ConfigMap",
        "secretRef": "Secret",
        "secretKeyRef": "Secret",
    }
    unknown = set(source) - set(kinds) - {"prefix"}
    if unknown:
        raise NotImplementedError(f"the test-only kubelet does not resolve {sorted(unknown)}")
    return [(kinds[key], value) for key, value in source.items() if key in kinds]
