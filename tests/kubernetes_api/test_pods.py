"""Which Pods are replicas, where they are, and what they are called."""

from typing import Any

import pytest

from slosched_server.kubernetes.pods import Engine, engines, is_serving, unknown_annotations
from slosched_server.kubernetes.pool import Pool, read_pool
from tests.kubernetes_api.objects import pod, pool


def _of(**status: Any) -> dict[str, Any]:
    made = pod("a", "10.0.0.1")
    made["status"].update(status)
    return made


def test_a_pod_serves_once_it_is_ready_and_as_long_as_it_may_stay() -> None:
    assert is_serving(pod("a", "10.0.0.1"))
    assert not is_serving(pod("a", "10.0.0.1", ready=False))
    assert not is_serving(_of(podIP=None))
    assert not is_serving(_of(phase="Failed"))
    assert not is_serving({"metadata": {"name": "pending"}})
    going = pod("a", "10.0.0.1")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert not is_serving(going)


def test_one_port_is_one_replica_and_several_are_several() -> None:
    made = pod("vllm-0", "10.0.0.1", annotations={"slosched.dev/max-num-seqs": "8"})
    (one,) = engines(made, [8000])
    assert (one.name, one.url, one.settings) == (
        "vllm-0",
        "http://10.0.0.1:8000",
        {"max_num_seqs": 8},
    )
    assert [each.name for each in engines(made, [8000, 8001])] == ["vllm-0:8000", "vllm-0:8001"]
    (six,) = engines(pod("vllm-0", "fd00::7"), [8000])
    assert six.url == "http://[fd00::7]:8000"


def test_a_name_that_another_address_has_yet_is_not_taken() -> None:
    """And what is called something is called that as long as it is there."""
    fresh = Engine("vllm-0", "http://10.0.0.2:8000")
    assert fresh.called({}) == "vllm-0"
    assert fresh.called({"vllm-0": fresh.url}) == "vllm-0"
    old = {"vllm-0": "http://10.0.0.1:8000"}
    assert fresh.called(old) == "vllm-0@10.0.0.2"
    assert fresh.called({**old, "vllm-0@10.0.0.2": fresh.url}) == "vllm-0@10.0.0.2"
    assert fresh.called({"vllm-0@10.0.0.2": fresh.url}) == "vllm-0@10.0.0.2"


def test_annotations_that_mean_nothing_are_named() -> None:
    annotations = {"slosched.dev/max-seqs": "8", "slosched.dev/profile": "x", "other/one": "y"}
    assert unknown_annotations(pod("a", "", annotations=annotations)) == ["slosched.dev/max-seqs"]


def test_a_pool_selects_pods_and_ports() -> None:
    assert read_pool(pool({"b": "2", "a": "1"}, [8000, 8001])) == Pool("a=1,b=2", (8000, 8001))


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"selector": {"matchLabels": {}}, "targetPorts": [{"number": 1}]},
        {"selector": {"app": "vllm"}, "targetPortNumber": 8000},
        {"selector": {"matchLabels": {"app": "vllm"}}, "targetPorts": []},
    ],
)
def test_a_pool_that_selects_nothing_is_none(spec: object) -> None:
    with pytest.raises(ValueError, match=r"InferencePool|selects nothing"):
        read_pool({"metadata": {"name": "p"}, "spec": spec})
