"""What kubectl makes of deploy/kubernetes: the objects that a user would apply."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
OVERLAYS = tuple(sorted(folder.name for folder in (FOLDER / "overlays").iterdir()))
EVERYTHING = "gpu with all components"
"""An overlay of a user's own, which takes all that there is to take."""

Object = dict[str, Any]
Objects = tuple[Object, ...]


@cache
def rendered(overlay: str) -> Objects:
    """Return an overlay's objects, in the order in which they would be applied."""
    if overlay == EVERYTHING:
        return of_a_user("gpu", "monitoring", "autoscaling", "picker-tls")
    return _built(FOLDER / "overlays" / overlay)


def of_a_user(overlay: str, *components: str, **more: object) -> Objects:
    """Return what is made of an overlay of ours by one of a user's own, somewhere else."""
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder).resolve()
        relative = Path(os.path.relpath(FOLDER, own))
        kustomization = {
            "resources": [str(relative / "overlays" / overlay)],
            "components": [str(relative / "components" / name) for name in components],
            **more,
        }
        (own / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        return _built(own)


def _built(folder: Path) -> Objects:
    here = Path(sys.executable).parent
    program = shutil.which("kubectl", path=here) or shutil.which("kubectl")
    if program is None:
        pytest.fail("no kubectl: python scripts/install_kubectl.py puts one beside this Python")
    done = subprocess.run(
        [program, "kustomize", str(folder)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return tuple(yaml.safe_load_all(done.stdout))


def of_kind(objects: Objects, kind: str) -> dict[str, Object]:
    """Return those of a kind, by name."""
    return {one["metadata"]["name"]: one for one in objects if one["kind"] == kind}


def pods(objects: Objects) -> dict[str, Object]:
    """Return the templates of all pods, by the name of who starts them."""
    return {name: one["spec"]["template"] for name, one in of_kind(objects, "Deployment").items()}


def containers(objects: Objects) -> dict[str, Object]:
    """Return the container of each pod, by the name of who starts it; each has one."""
    found = {}
    for name, pod in pods(objects).items():
        (found[name],) = pod["spec"]["containers"]
    return found


def ports(container: Object) -> dict[str, int]:
    """Return a container's ports by name."""
    return {port["name"]: port["containerPort"] for port in container["ports"]}


def selects(selector: Mapping[str, str], pod: Object) -> bool:
    """Whether labels that are asked for are those of a pod."""
    labels: Mapping[str, str] = pod["metadata"]["labels"]
    return selector.items() <= labels.items()


def selected(objects: Objects, selector: Mapping[str, str]) -> list[str]:
    """Return the names of whose pods are meant."""
    return [name for name, pod in pods(objects).items() if selects(selector, pod)]


def values(found: object, key: str) -> Iterator[Any]:
    """Go through all that is called `key`, however deep it lies."""
    if isinstance(found, dict):
        for name, value in found.items():
            if name == key:
                yield value
            yield from values(value, key)
    elif isinstance(found, list):
        for item in found:
            yield from values(item, key)
