"""The open loop in virtual time: nobody waits for answers, and no wait is left out."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slosched import LinearLatency, Request, Slo, TracedRequest
from slosched.bench.compose import Composer
from slosched.bench.prompts import Prompts
from slosched.bench.replay import OpenLoop, Replay
from slosched.bench.result import arrays, summarize
from slosched.bench.tally import Tally
from slosched.client.answer import Answer
from slosched.client.connection import Call
from tests.engines import virtual_time
from tests.engines.fake_connection import FakeConnection
from tests.engines.fake_engine import FakeEngine

LATENCY = LinearLatency(0.01, 1e-4, 1e-3, 0.0)
COMPOSER = Composer("fake", Prompts(np.arange(100), 0))
ALONE = 0.01 + 8e-4  # s to the first token of 8 with the engine to oneself


def trace(arrivals: Sequence[float], prompt: int = 8, output: int = 5) -> list[TracedRequest]:
    slo = Slo(ttft=0.1)
    return [
        TracedRequest(Request(str(i), at, prompt, slo, "chat"), output)
        for i, at in enumerate(arrivals)
    ]


def replayed(
    monkeypatch: pytest.MonkeyPatch,
    requests: Sequence[TracedRequest],
    engine: FakeEngine | None = None,
    *,
    stop_at: float | None = None,
    **options: Any,
) -> Replay:
    async def story() -> Replay:
        connection = FakeConnection(engine or FakeEngine(LATENCY))
        async with connection:
            loop = OpenLoop(connection, COMPOSER, **options)  # type: ignore[arg-type]
            if stop_at is not None:
                asyncio.get_running_loop().call_later(stop_at, loop.stop)
            return await loop.run(requests)

    return virtual_time.run(monkeypatch, story())


def test_requests_go_out_at_their_times_whatever_the_server_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The engine hangs for ten seconds: what arrives meanwhile waits, and that counts."""
    engine = FakeEngine(LATENCY, overhead=0.0)
    hung = engine.latency
    requests = trace([0.0, 1.0, 2.0, 9.0, 20.0], output=1)

    class Hangs(LinearLatency):
        def step(self, *shape: float) -> float:
            return 10.0 if engine.steps == 1 else hung.step(*shape)

    engine.latency = Hangs(0.01, 0, 0, 0)
    replay = replayed(monkeypatch, requests, engine)
    sent = [answer.sent - replay.started for answer in replay.answers if answer]
    assert sent == pytest.approx([0.0, 1.0, 2.0, 9.0, 20.0], abs=1e-6)
    result = summarize(requests, replay)
    assert result["completed"] == 5
    ttfts = np.array(arrays(requests, replay)["ttfts_ms"]) / 1e3
    assert ttfts[:4] == pytest.approx([10.0, 9.0, 8.0, 1.0], abs=0.05)
    assert ttfts[4] == pytest.approx(ALONE, abs=1e-6)
    assert result["slo_attainment"] == pytest.approx(0.2)
    assert result["schedule_lag_ms"]["max"] < 1e-3


def test_times_are_those_of_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = trace([0.0, 1.0])
    result = summarize(requests, replayed(monkeypatch, requests))
    assert result["mean_ttft_ms"] == pytest.approx(1e3 * ALONE)
    assert result["mean_tpot_ms"] == pytest.approx(11.0)
    assert result["mean_itl_ms"] == pytest.approx(11.0)
    assert result["mean_e2el_ms"] == pytest.approx(1e3 * ALONE + 4 * 11.0)
    assert result["duration"] == pytest.approx(1.0 + ALONE + 4 * 0.011)
    assert result["total_output_tokens"] == 10


def test_who_waits_for_a_slot_of_the_client_has_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = trace([0.0, 0.0, 0.0], output=1)
    replay = replayed(monkeypatch, requests, max_concurrency=1)
    ttfts = arrays(requests, replay)["ttfts_ms"]
    assert ttfts == pytest.approx([1e3 * ALONE * n for n in (1, 2, 3)], abs=1e-3)
    assert summarize(requests, replay)["schedule_lag_ms"]["max"] < 1e-3


def test_a_timeout_ends_one_request_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = [*trace([0.0], output=500), *trace([9.0])[0:1]]
    result = summarize(requests, replayed(monkeypatch, requests, timeout_s=2.0))
    assert (result["completed"], result["failed"]) == (1, 1)
    assert result["errors"] == {"timeout": 1}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    st.lists(st.floats(0, 3), min_size=1, max_size=12).map(sorted),
    st.floats(0, 4),
    st.none() | st.integers(1, 3),
)
def test_every_request_has_one_end_when_it_is_stopped(
    monkeypatch: pytest.MonkeyPatch,
    arrivals: list[float],
    stop_at: float,
    most: int | None,
) -> None:
    """Law 1 from outside: completed, failed, shed, unfinished and unsent make up the trace."""
    requests = trace(arrivals, output=40)
    tallies: list[tuple[int, int]] = []

    def changed(tally: Tally) -> None:
        tallies.append((tally.sent, tally.done + tally.errors.total()))
        assert 0 <= tally.in_flight == tally.sent - tallies[-1][1]

    replay = replayed(monkeypatch, requests, stop_at=stop_at, max_concurrency=most, changed=changed)
    result = summarize(requests, replay)
    counts = [result[name] for name in ("completed", "failed", "shed", "unfinished", "unsent")]
    assert sum(counts) == len(requests) == result["num_prompts"]
    assert result["failed"] == result["shed"] == 0
    assert replay.interrupted or not result["unfinished"] + result["unsent"]
    assert tallies == sorted(tallies)
    assert sorted(set(arrays(requests, replay)["outcomes"])) == sorted(
        name
        for name, count in zip(
            ("finished", "failed", "shed", "unfinished", "unsent"), counts, strict=True
        )
        if count
    )
    assert result["per_class"].get("chat", {"requests": 0})["requests"] == result["completed"]


def test_nothing_in_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    result = summarize([], replayed(monkeypatch, []))
    assert result["num_prompts"] == result["completed"] == 0
    assert result["weighted_attainment"] is None


class _Refusing(FakeConnection):
    """Refuses every third request as too many."""

    async def stream(self, call: Call, answer: Answer, timeout_s: float | None = None) -> None:
        if len(self.calls) % 3 == 2:
            self.calls.append(call)
            answer.fail("429", "too many")
            answer.over = True
            return
        await super().stream(call, answer, timeout_s)


def test_what_was_shed_is_told_apart_and_not_attained(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> Replay:
        connection = _Refusing(FakeEngine(LATENCY))
        async with connection:
            return await OpenLoop(connection, COMPOSER).run(requests)  # type: ignore[arg-type]

    requests = trace(np.arange(6.0).tolist())
    result = summarize(requests, virtual_time.run(monkeypatch, story()))
    assert (result["completed"], result["failed"], result["shed"]) == (4, 0, 2)
    assert result["errors"] == {"429": 2}
    assert result["slo_attainment"] == pytest.approx(4 / 6)
