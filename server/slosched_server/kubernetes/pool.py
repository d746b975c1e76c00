"""The InferencePool: which Pods are the replicas, and at which ports they serve."""

from collections.abc import Sequence
from dataclasses import dataclass

from slosched_server.kubernetes.kinds import Object


@dataclass(frozen=True, slots=True)
class Pool:
    """What an InferencePool says, as far as it is about replicas.

    Parameters
    ----------
    selector
        Of Pods, as the API takes it: `app=vllm,tier=gpu`.
    ports
        At each of which a Pod has an engine.
    """

    selector: str
    ports: Sequence[int]


def read_pool(item: Object) -> Pool:
    """Read an InferencePool; ValueError if it selects nothing."""
    try:
        labels = item["spec"]["selector"]["matchLabels"]
        ports = tuple(int(port["number"]) for port in item["spec"]["targetPorts"])
        selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"is no InferencePool of version v1: {error!r}") from None
    if not selector or not ports:
        raise ValueError("selects nothing: spec.selector.matchLabels or spec.targetPorts is empty")
    return Pool(selector, ports)
