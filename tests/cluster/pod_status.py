"""What a kubelet says of a pod, of what its containers say."""

from collections.abc import Sequence

from tests.cluster.api import Object
from tests.cluster.container import Container, now


def pod_status(
    pod: Object, init: Sequence[Container], containers: Sequence[Container], *, initialized: bool
) -> Object:
    """Make a pod's phase, conditions and container statuses; addresses are the caller's."""
    ready = bool(containers) and all(container.ready for container in containers)
    known = {c["type"]: c for c in pod["status"].get("conditions", [])}
    wanted = {"Initialized": initialized, "ContainersReady": ready, "Ready": ready}
    for kind, holds in wanted.items():
        status = str(holds)
        if known.get(kind, {}).get("status") != status:
            known[kind] = {"type": kind, "status": status, "lastTransitionTime": now()}
    return {
        "phase": _phase(pod, init, containers),
        "startTime": pod["status"].get("startTime") or now(),
        "conditions": list(known.values()),
        "initContainerStatuses": [container.status() for container in init],
        "containerStatuses": [container.status() for container in containers],
    }


def _phase(pod: Object, init: Sequence[Container], containers: Sequence[Container]) -> str:
    once = pod["spec"]["restartPolicy"] == "Never"
    if once and any(container.state.get("terminated", {}).get("exitCode") for container in init):
        return "Failed"
    if not containers or all("waiting" in c.state and not c.restarts for c in containers):
        return "Pending"
    if not all(container.over for container in containers):
        return "Running"
    codes = [c.state.get("terminated", {}).get("exitCode", 137) for c in containers]
    return "Failed" if any(codes) else "Succeeded"
