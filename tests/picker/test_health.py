"""gRPC health, as Envoy and Kubernetes ask for it: by grpcio, over real ports."""

import asyncio
from typing import Any

import grpc
import pytest

from slosched_server.picker.health import EXTERNAL_PROCESSOR
from slosched_server.picker.health_pb2 import (
    NOT_SERVING,
    SERVING,
    HealthCheckRequest,
    HealthCheckResponse,
    ServingStatus,
)
from tests.picker.desks import Picker, desk, listening

ASKED = ("", "readiness", EXTERNAL_PROCESSOR)


async def check(address: str, service: str) -> ServingStatus:
    async with grpc.aio.insecure_channel(address) as channel:
        ask = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )
        said: HealthCheckResponse = await ask(HealthCheckRequest(service=service), timeout=60)
        return said.status


def test_a_standby_lives_and_is_not_to_be_asked() -> None:
    async def main() -> None:
        async with desk() as picker, listening(picker) as (asked, health, _):
            for address in (asked, health):
                for leads in (True, False, True):
                    picker.role.lead(leads)
                    assert await check(address, "liveness") == SERVING
                    for service in ASKED:
                        now = SERVING if leads else NOT_SERVING
                        assert await check(address, service) == now

    asyncio.run(main())


def test_who_watches_hears_of_each_change() -> None:
    async def main(picker: Picker, address: str) -> None:
        async with grpc.aio.insecure_channel(address) as channel:
            watch = channel.unary_stream(
                "/grpc.health.v1.Health/Watch",
                request_serializer=HealthCheckRequest.SerializeToString,
                response_deserializer=HealthCheckResponse.FromString,
            )
            heard: Any = watch(HealthCheckRequest(service="readiness"), timeout=60)
            assert (await heard.read()).status == SERVING
            for leads in (False, True):
                picker.role.lead(leads)
                assert (await heard.read()).status == (SERVING if leads else NOT_SERVING)
            heard.cancel()

    async def opened() -> None:
        async with desk() as picker, listening(picker) as (_, health, _status):
            await main(picker, health)

    asyncio.run(opened())


@pytest.mark.parametrize("port", [0, 1])
def test_an_unknown_service_is_not_found(port: int) -> None:
    async def main() -> None:
        async with desk() as picker, listening(picker) as addresses:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await check(addresses[port], "nobody")
            assert caught.value.code() == grpc.StatusCode.NOT_FOUND

    asyncio.run(main())


def test_an_unknown_method_is_unimplemented() -> None:
    async def main() -> None:
        async with (
            desk() as picker,
            listening(picker) as (asked, _, _status),
            grpc.aio.insecure_channel(asked) as channel,
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary("/a.B/C", bytes, bytes)(b"", timeout=60)
            assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED

    asyncio.run(main())
