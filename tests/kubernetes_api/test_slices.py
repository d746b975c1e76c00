"""What EndpointSlices deny of Pods."""

from typing import Any

import pytest

from slosched_server.kubernetes.slices import withheld
from tests.kubernetes_api.objects import endpoint_slice


@pytest.mark.parametrize(
    ("conditions", "denied"),
    [
        ({}, False),
        ({"serving": True, "terminating": False}, False),
        ({"serving": None, "terminating": None}, False),
        ({"ready": False}, False),
        ({"serving": False}, True),
        ({"serving": True, "terminating": True}, True),
    ],
)
def test_who_does_not_serve_or_is_to_end_is_withheld(
    conditions: dict[str, Any], denied: bool
) -> None:
    said = endpoint_slice("a", "1", **conditions)
    assert withheld([said]) == ({"1"} if denied else set())
    # Another Service's slice does not lift it.
    assert withheld([said, endpoint_slice("a", "1", serving=True)]) == withheld([said])


@pytest.mark.parametrize(
    "endpoints",
    [
        None,
        [],
        [{"addresses": ["10.0.0.1"], "conditions": {"serving": False}}],
        [{"conditions": {"serving": False}, "targetRef": {"kind": "Pod", "name": "a"}}],
        [{"conditions": {"serving": False}, "targetRef": {"kind": "VM", "uid": "1"}}],
        [{"conditions": None, "targetRef": {"kind": "Pod", "uid": "1"}}],
    ],
)
def test_what_is_no_pod_or_says_nothing_denies_nothing(endpoints: object) -> None:
    assert withheld([{"metadata": {"name": "s"}, "endpoints": endpoints}]) == set()
