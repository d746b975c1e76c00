"""Pages of vLLM's metrics, as engines write them, and pages that are none."""

import asyncio

import aiohttp
import pytest

from slosched.dispatch import Reading
from slosched_server.readings import reading
from tests.simulated_engine.serve import simulated

PAGE = b"""# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 2.0
vllm:num_requests_waiting{engine="0",model_name="m"} 4.0
vllm:num_requests_waiting{engine="1",model_name="m"} 0.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 9.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.5
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.25
vllm:cache_config_info{block_size="16",engine="0",num_gpu_blocks="100"} 1.0
vllm:cache_config_info{block_size="16",engine="1",num_gpu_blocks="100"} 1.0
"""


def test_engines_of_one_server_add_up() -> None:
    assert reading(PAGE) == Reading(5, 4, 0.375, 3200)


def test_an_engine_that_does_not_know_its_cache_yet() -> None:
    said = reading(PAGE.replace(b'num_gpu_blocks="100"', b'num_gpu_blocks="None"'))
    assert said == Reading(5, 4, 0.375, None)


@pytest.mark.parametrize(
    "page",
    [b"", b"<html>", b"vllm:num_requests_running{ 1", b"\xff\xfe", PAGE.replace(b" 4.0", b" four")],
)
def test_what_is_no_page_says_nothing(page: bytes) -> None:
    assert reading(page) is None


def test_a_simulated_engine_says_what_vllm_says() -> None:
    async def main() -> None:
        async with simulated() as url, aiohttp.ClientSession(url) as client:
            async with client.get("/metrics") as got:
                said = reading(await got.read())
            assert said is not None
            assert (said.running, said.waiting, said.kv_used) == (0, 0, 0.0)
            assert said.kv_tokens

    asyncio.run(main())
