"""Tier C: stock vLLM over HTTP, with nothing but our two flags."""

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from time import sleep

import psutil
import pytest

from slosched.traces import read
from tests.vllm.server import Server, family_of, serving

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def server(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tiny_model, tmp_path_factory.mktemp("server")) as started:
        yield started


def test_class_by_header_is_announced(server: Server) -> None:
    answer = server.chat({"x-slo-class": "interactive"})
    assert answer.status == 200
    assert answer.headers["x-slosched-class"] == "interactive"
    assert json.load(answer)["usage"]["completion_tokens"] == 5


@pytest.mark.parametrize(
    ("path", "prompt"),
    [
        ("/v1/completions", {"prompt": "hello", "max_tokens": 3}),
        ("/v1/responses", {"input": "hello", "max_output_tokens": 3}),
    ],
)
def test_other_endpoints_are_tagged(server: Server, path: str, prompt: dict[str, object]) -> None:
    body = {"model": "tiny", "service_tier": "flex", **prompt}
    answer = server.request("POST", path, body, {"x-slo-e2e-ms": "9000"})
    assert (answer.status, answer.headers["x-slosched-class"]) == (200, "batch"), answer.read()
    assert json.load(answer)


def test_malformed_header_is_a_400(server: Server) -> None:
    answer = server.chat({"x-slo-ttft-ms": "soon"})
    assert answer.status == 400
    assert json.load(answer)["error"]["param"] == "x-slo-ttft-ms"


def test_answers_stream(server: Server) -> None:
    answer = server.chat(stream=True, max_tokens=7, ignore_eos=True)
    events = [line for line in answer.read().decode().splitlines() if line.startswith("data: ")]
    assert events[-1] == "data: [DONE]"
    assert len(events) > 4
    assert answer.headers["x-slosched-class"] == "batch"


def test_plan_orders_the_queue_and_disconnect_aborts(server: Server) -> None:
    """A request occupies the only slot; when its client leaves, the tighter deadline goes first."""
    occupant = server.chat(stream=True, max_tokens=2000, ignore_eos=True)
    occupant.read(1)
    occupied = server.open[-1]
    order: list[str] = []

    def ask(slo_class: str) -> None:
        server.chat({"x-slo-class": slo_class}, max_tokens=100, ignore_eos=True).read()
        order.append(slo_class)

    clients = []
    for waiting, slo_class in enumerate(["batch", "interactive"], start=1):
        clients.append(threading.Thread(target=ask, args=(slo_class,)))
        clients[-1].start()
        server.until("vllm:num_requests_waiting{", waiting)
    server.until("slosched_queue_depth", 2)
    occupant.close()
    occupied.close()
    for client in clients:
        client.join(60)
    assert order == ["interactive", "batch"]
    server.until("vllm:num_requests_running{", 0)


def test_metrics_appear_on_vllms_own_page(server: Server) -> None:
    server.chat().read()
    found = server.metrics("slosched_")
    assert found['slosched_solve_seconds_count{solver="edf"}'] > 0
    assert found["slosched_step_overhead_seconds_count"] > 5
    assert found["slosched_prediction_error_tokens_count"] > 0
    assert found["slosched_plan_failures_total"] == 0
    assert any(name.startswith("slosched_plan_age_seconds") for name in found)
    depths = {k: v for k, v in found.items() if k.startswith("slosched_queue_depth")}
    assert set(depths.values()) == {0.0}


def test_an_encoder_reads_along(server: Server) -> None:
    """A prompt before its first token, and the answer again as it grows."""
    before = server.metrics("slosched_prediction_seconds_count")
    server.chat(max_tokens=150, ignore_eos=True).read()
    after = server.metrics("slosched_prediction_seconds_count")
    assert sum(after.values()) >= sum(before.values()) + 2
    assert server.metrics("slosched_plan_failures_total")["slosched_plan_failures_total"] == 0


def test_finished_requests_are_logged(server: Server) -> None:
    server.chat(content="remember me", max_tokens=9, ignore_eos=True).read()
    path = server.scratch / "requests.jsonl"
    for _ in range(200):
        if (found := read(path, ordered=False))[-1].output_tokens == 9:
            break
        sleep(0.05)
    assert "remember me" in (found[-1].prompt or "")
    assert found[-1].answer


def test_sigterm_leaves_nothing_behind(server: Server) -> None:
    """Last of this module, as it ends the server."""
    family = family_of(server)
    assert list(server.scratch.glob("slosched-metrics-*"))
    server.process.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive, server.log.read_text()[-3000:]
    assert not list(server.scratch.glob("slosched-metrics-*"))
