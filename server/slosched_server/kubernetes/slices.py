"""EndpointSlices: which Pods are to get nothing new, as those who route by Services are told."""

from collections.abc import Iterable

from slosched_server.kubernetes.kinds import Object


def withheld(slices: Iterable[Object]) -> set[str]:
    """Return the `metadata.uid` of each Pod that a slice says does not serve, or is to end.

    What a slice leaves open is as the API reads it: it serves, and does not end. Endpoints that
    are no Pods, or do not say which by its uid, say nothing of any.
    """
    return {
        target["uid"]
        for item in slices
        for endpoint in item.get("endpoints") or ()
        if (target := endpoint.get("targetRef") or {}).get("kind") == "Pod" and "uid" in target
        if not _may_serve(endpoint.get("conditions") or {})
    }


def _may_serve(conditions: Object) -> bool:
    return conditions.get("serving") is not False and not conditions.get("terminating")
