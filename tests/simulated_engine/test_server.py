"""The simulated engine as its clients see it: OpenAI's API, the simulator's timing, and faults."""

import asyncio
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from openai import AsyncOpenAI

from slosched.client.connection import Connection
from slosched.client.server import metrics, total
from slosched.config.load import load
from slosched.core.request import Request, TracedRequest
from slosched.core.slo import Slo
from slosched.simulated_engine.faults import Fault, parse_fault
from slosched.simulated_engine.lengths import Lengths
from tests.simulated_engine.serve import PROFILE, simulated

MODEL = "simulated"
HI: Any = [{"role": "user", "content": "hello"}]


@pytest.fixture
def profile(tmp_path: Path) -> str:
    path = tmp_path / "profile.yaml"
    path.write_text(PROFILE)
    return f"engine.profile={path}"


async def value(url: str, name: str) -> float:
    async with Connection(url) as connection:
        return total(await metrics(connection), f"vllm:{name}") or 0.0


def client(url: str) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


async def post(url: str, path: str, body: Any, **headers: str) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(url + path, json=body, headers=headers) as response,
    ):
        return response.status, await response.json()


def test_the_openai_client_is_served(profile: str) -> None:
    async def main() -> None:
        async with simulated(profile) as url, client(url) as openai:
            [model] = (await openai.models.list()).data
            assert model.id == MODEL
            said = await openai.chat.completions.create(model=MODEL, messages=HI, max_tokens=5)
            assert said.choices[0].finish_reason == "length"
            assert said.usage
            assert said.usage.completion_tokens == 5
            stream = await openai.chat.completions.create(
                model=MODEL, messages=HI, max_tokens=5, stream=True, n=2,
                stream_options={"include_usage": True},
            )  # fmt: skip
            chunks = [chunk async for chunk in stream]
            texts = ["", ""]
            for chunk in chunks:
                for choice in chunk.choices:
                    texts[choice.index] += choice.delta.content or ""
            assert texts == [said.choices[0].message.content] * 2
            assert chunks[-1].usage
            assert chunks[-1].usage.completion_tokens == 10
            plain = await openai.completions.create(
                model=MODEL, prompt=[[1, 2, 3], [4, 5]], max_tokens=3
            )
            assert [choice.index for choice in plain.choices] == [0, 1]

    asyncio.run(main())


def test_timing_is_that_of_the_simulator(profile: str) -> None:
    """Of the engine's time: what `simulate` says of the same request, once it is there."""

    async def main() -> tuple[float, float]:
        async with simulated(profile) as url:
            body = {"prompt": list(range(100)), "max_tokens": 10, "ignore_eos": True}
            assert (await post(url, "/v1/completions", body))[0] == 200
            first = await value(url, "time_to_first_token_seconds_sum")
            return first, await value(url, "inter_token_latency_seconds_sum")

    settings = load(None, [profile, "engine.scheduler=vllm-fcfs"])
    trace = [TracedRequest(Request("a", 0.0, 100, Slo()), 10)]
    expected = settings.simulated_engine().run(trace)
    first, others = asyncio.run(main())
    assert others == pytest.approx(expected.finish[0] - expected.first_token[0])
    assert others == pytest.approx(9 * 0.02)
    assert first >= expected.first_token[0] == pytest.approx(0.03)


def test_who_finds_no_slot_waits(profile: str) -> None:
    async def main() -> None:
        async with simulated(profile, "engine.max_num_seqs=1") as url:
            body = {"prompt": "a", "max_tokens": 50, "ignore_eos": True}
            await asyncio.gather(*(post(url, "/v1/completions", body) for _ in range(3)))
            mean = await value(url, "time_to_first_token_seconds_sum") / 3
            assert mean > 0.9  # 0, 50 and 100 steps of 20 ms
            assert await value(url, "num_requests_waiting") == 0

    asyncio.run(main())


def test_a_prompt_that_came_before_is_found(profile: str) -> None:
    async def main() -> list[float]:
        async with simulated(profile) as url:
            firsts = [0.0]
            for salt in ("", "", "other"):
                body = {"prompt": "word " * 2000, "max_tokens": 1, "cache_salt": salt}
                assert (await post(url, "/v1/completions", body))[0] == 200
                firsts.append(await value(url, "time_to_first_token_seconds_sum"))
            return list(np.diff(firsts))

    first, again, salted = asyncio.run(main())
    assert again < first / 3
    assert salted == pytest.approx(first, rel=0.01)


def test_who_hangs_up_frees_its_slot(profile: str) -> None:
    async def main() -> None:
        async with simulated(profile, speed=1.0) as url:
            async with client(url) as openai:
                stream = await openai.completions.create(
                    model=MODEL, prompt="a", max_tokens=3000, stream=True,
                    extra_body={"ignore_eos": True},
                )  # fmt: skip
                await anext(aiter(stream))
                assert await value(url, "num_requests_running") == 1
                await stream.close()
            for _ in range(100):
                if not await value(url, "num_requests_running"):
                    break
                await asyncio.sleep(0.02)
            assert await value(url, "num_requests_running") == 0
            assert await value(url, "kv_cache_usage_perc") == 0
            assert await value(url, "generation_tokens_total") < 100

    asyncio.run(main())


def test_lengths_are_said_or_drawn_by_the_prompt(profile: str) -> None:
    async def tokens(url: str, prompt: str, **headers: str) -> int:
        status, said = await post(url, "/v1/completions", {"prompt": prompt}, **headers)
        assert status == 200
        return int(said["usage"]["completion_tokens"])

    async def main() -> None:
        async with simulated(profile, speed=500.0, median=20.0) as url:
            assert await tokens(url, "a", **{"x-simulated-output-tokens": "7"}) == 7
            drawn = [await tokens(url, str(i)) for i in range(5)]
            assert drawn == [await tokens(url, str(i)) for i in range(5)]
            assert drawn == [Lengths(20.0).of(str(i), 0) for i in range(5)]

    asyncio.run(main())


def test_drawn_lengths_have_the_median_that_was_asked_for() -> None:
    drawn = [Lengths(150.0, 0.5).of(f"prompt {i}", 0) for i in range(2000)]
    assert 140 < np.median(drawn) < 160
    assert 0.45 < np.log(drawn).std() < 0.55


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("completions", {"prompt": ""}, 200, ""),
        ("completions", {}, 400, "prompt: Field required"),
        ("completions", {"prompt": "a", "max_tokens": 0}, 400, "max_tokens: Input should be"),
        ("completions", {"prompt": "a" * 40_000}, 400, "10000 tokens, and the model's"),
        ("completions", {"prompt": "a", "model": "x"}, 404, "`x` does not exist"),
        ("completions", {"prompt": "a", "vllm_xargs": {"slosched_class": "x"}}, 400, "unknown cla"),
        ("chat/completions", {"messages": []}, 400, "messages: List should have at least 1"),
        ("chat/completions", [], 400, "body: Input should be"),
    ],
)
def test_bad_requests(profile: str, path: str, body: Any, status: int, words: str) -> None:
    async def main() -> tuple[int, Any]:
        async with simulated(profile, median=2.0) as url:
            return await post(url, f"/v1/{path}", body)

    found, said = asyncio.run(main())
    assert found == status
    assert words in str(said)


def test_faults(profile: str) -> None:
    body = {"prompt": "a", "max_tokens": 10, "ignore_eos": True}

    async def main() -> None:
        async with simulated(profile, fault=Fault(kind="refuse")) as url:
            assert (await post(url, "/v1/completions", body))[0] == 503
            assert (await post(url, "/faults", {"kind": "slow", "factor": 3}))[0] == 200
            assert (await post(url, "/v1/completions", body))[0] == 200
            slow = await value(url, "e2e_request_latency_seconds_sum")
            await post(url, "/faults", {"kind": "none"})
            await post(url, "/v1/completions", body)
            usual = await value(url, "e2e_request_latency_seconds_sum") - slow
            assert slow == pytest.approx(3 * usual, rel=0.01)
            await post(url, "/faults", {"kind": "hang"})
            waiting = asyncio.create_task(post(url, "/v1/completions", body))
            await asyncio.sleep(0.3)
            assert not waiting.done()
            await post(url, "/faults", {"kind": "none"})
            assert (await waiting)[0] == 200
            assert (await post(url, "/faults", {"kind": "sleep"}))[0] == 400

    asyncio.run(main())


@pytest.mark.parametrize("text", ["sleep", "hang=2", "slow=fast", "slow=-1", ""])
def test_no_faults(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be|only slow"):
        parse_fault(text)
    assert parse_fault("slow=4") == Fault(kind="slow", factor=4.0)


async def _lines(process: asyncio.subprocess.Process) -> AsyncIterator[str]:
    assert process.stderr
    async for line in process.stderr:
        yield line.decode()


@pytest.mark.parametrize("end", ["fault", "signal"])
def test_the_command_serves_in_the_order_of_plans_and_ends(profile: str, end: str) -> None:
    async def main() -> int:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "slosched", "simulated-engine", "--port", "0", "--speed", "20"),
            *("--set", profile),
            stderr=subprocess.PIPE,
        )
        async for line in _lines(process):
            if found := re.search(r"url=(\S+)", line):
                break
        url = found[1] if found else ""
        xargs = {"slosched_class": "interactive"}
        body = {"prompt": "a", "max_tokens": 5, "vllm_xargs": xargs}
        assert (await post(url, "/v1/completions", body))[0] == 200
        if end == "fault":
            await post(url, "/faults", {"kind": "die"})
        else:
            process.terminate()
        await asyncio.wait_for(process.communicate(), 30)
        return process.returncode or 0

    expected = -signal.SIGKILL if end == "fault" else 0
    assert asyncio.run(main()) in (expected, -signal.SIGTERM if end == "signal" else expected)
