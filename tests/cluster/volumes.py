"""Volumes of a pod as folders: written once, when the pod starts."""

from pathlib import Path

from tests.cluster.api import Api, Object
from tests.cluster.environment import field, values

Texts = dict[str, str]


async def write_volumes(api: Api, pod: Object, folder: Path) -> dict[str, Path]:
    """Write a pod's volumes; gives where each is."""
    places = {}
    for volume in pod["spec"].get("volumes", []):
        name = volume["name"]
        place = folder / name
        if "hostPath" in volume:
            place = Path(volume["hostPath"]["path"])
        else:
            for path, text in (await _texts(api, pod, volume)).items():
                file = place / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
            place.mkdir(parents=True, exist_ok=True)
        places[name] = place
    return places


def mounts(pod: Object, container: Object, places: dict[str, Path]) -> list[tuple[Path, str]]:
    """Say what a container sees where; outer folders first.

    An empty folder for a path that this machine has, such as /tmp, is this machine's own.
    """
    empty = {volume["name"] for volume in pod["spec"].get("volumes", []) if "emptyDir" in volume}
    found = []
    for mount in sorted(container.get("volumeMounts", []), key=lambda m: str(m["mountPath"])):
        if mount["name"] in empty and Path(mount["mountPath"]).is_dir():
            continue
        source = places[mount["name"]] / mount.get("subPath", "")
        if not source.exists():
            source.mkdir(parents=True)
        found.append((source, mount["mountPath"]))
    return found


async def _texts(api: Api, pod: Object, volume: Object) -> Texts:
    namespace = pod["metadata"]["namespace"]
    if "emptyDir" in volume:
        return {}
    if "configMap" in volume:
        return _chosen(
            await values(api, namespace, "ConfigMap", volume["configMap"]), volume["configMap"]
        )
    if "secret" in volume:
        secret = volume["secret"] | {"name": volume["secret"].get("secretName", "")}
        return _chosen(await values(api, namespace, "Secret", secret), secret)
    if "downwardAPI" in volume:
        return _fields(pod, volume["downwardAPI"])
    if "projected" in volume:
        found: Texts = {}
        for source in volume["projected"]["sources"]:
            if "serviceAccountToken" in source:
                wanted = source["serviceAccountToken"]
                found[wanted["path"]] = await _token(api, pod, wanted)
            else:
                if "secret" in source:
                    source["secret"].setdefault("secretName", source["secret"].get("name"))
                found |= await _texts(api, pod, source)
        return found
    kinds = sorted(set(volume) - {"name"})
    raise NotImplementedError(f"the test-only kubelet has no volumes of {kinds}")


def _chosen(data: Texts, source: Object) -> Texts:
    items = source.get("items")
    return data if items is None else {item["path"]: data[item["key"]] for item in items}


def _fields(pod: Object, source: Object) -> Texts:
    items = source.get("items", [])
    return {item["path"]: field(pod, item["fieldRef"]["fieldPath"]) for item in items}


async def _token(api: Api, pod: Object, wanted: Object) -> str:
    meta = pod["metadata"]
    account = pod["spec"].get("serviceAccountName", "default")
    path = await api.path("v1", "ServiceAccount", meta["namespace"], account)
    bound = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
    spec: Object = {
        "expirationSeconds": wanted.get("expirationSeconds", 3600),
        "boundObjectRef": bound,
    }
    if "audience" in wanted:
        spec["audiences"] = [wanted["audience"]]
    found = await api.request("POST", f"{path}/token", {"spec": spec})
    return str(found["status"]["token"])
