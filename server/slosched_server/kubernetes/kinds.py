"""The kinds of objects that are read and written, and where the API has them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# An object as the API has it. Generated models would bind us to one version of each kind, and are
# slow to make; of an object we need five fields.
Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of objects that live in namespaces.

    Parameters
    ----------
    group, version
        Of the API; the group of Pods and the like is "".
    plural
        Its name in paths.
    """

    group: str
    version: str
    plural: str

    @property
    def called(self) -> str:
        """Its name as `kubectl` takes it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str, name: str = "") -> str:
        """Return the path of a namespace's objects, or of one of them."""
        api = f"/apis/{self.group}" if self.group else "/api"
        path = f"{api}/{self.version}/namespaces/{namespace}/{self.plural}"
        return f"{path}/{name}" if name else path


PODS = Kind("", "v1", "pods")
SLICES = Kind("discovery.k8s.io", "v1", "endpointslices")
LEASES = Kind("coordination.k8s.io", "v1", "leases")
POOLS = Kind("inference.networking.k8s.io", "v1", "inferencepools")
# Gateway API Inference Extension had them first, llm-d's router has them now. Of two objects of one
# name that of the later group counts.
OBJECTIVES = (
    Kind("inference.networking.x-k8s.io", "v1alpha2", "inferenceobjectives"),
    Kind("llm-d.ai", "v1alpha2", "inferenceobjectives"),
)
