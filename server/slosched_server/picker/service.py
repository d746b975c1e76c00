"""The picker as a gRPC service, with its health."""

from collections.abc import Awaitable, Callable
from contextlib import suppress

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from slosched_server.picker.desk import Desk
from slosched_server.picker.exchange import exchange
from slosched_server.picker.ext_proc_pb2 import ProcessingRequest, ProcessingResponse
from slosched_server.picker.stream import GrpcStream

log = structlog.get_logger()

EXTERNAL_PROCESSOR = "envoy.service.ext_proc.v3.ExternalProcessor"
# A standby's: it lives, and is not to be asked.
LIVENESS, READINESS = "liveness", "readiness"

_HEADROOM = 64 * 1024  # of a message beyond the body in it
_Context = grpc.aio.ServicerContext[ProcessingRequest, ProcessingResponse]


class Health:
    """Answers gRPC health checks: of the process, and of its being the picker to ask."""

    def __init__(self) -> None:
        self.servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]  # the stubs are older

    async def set(self, *, ready: bool) -> None:
        """Say whether this picker is the one to be asked."""
        serving = health_pb2.HealthCheckResponse.SERVING
        now = serving if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", READINESS, EXTERNAL_PROCESSOR):
            await self.servicer.set(name, now)
        await self.servicer.set(LIVENESS, serving)


def picker_server(desk: Desk, health_of: Health) -> grpc.aio.Server:
    """Make the server that Envoy asks; it has no port yet."""
    server = _server(desk.max_body_bytes)
    handler = grpc.stream_stream_rpc_method_handler(
        _attended(desk), ProcessingRequest.FromString, ProcessingResponse.SerializeToString
    )
    methods = {"Process": handler}
    generic = grpc.method_handlers_generic_handler(EXTERNAL_PROCESSOR, methods)
    server.add_generic_rpc_handlers((generic,))
    health_pb2_grpc.add_HealthServicer_to_server(health_of.servicer, server)
    return server


def health_server(health_of: Health) -> grpc.aio.Server:
    """Make a server for health checks alone; it has no port yet."""
    server = _server(0)
    health_pb2_grpc.add_HealthServicer_to_server(health_of.servicer, server)
    return server


def _attended(desk: Desk) -> Callable[[object, _Context], Awaitable[None]]:
    async def process(_: object, context: _Context) -> None:
        with desk.attends(), suppress(grpc.aio.UsageError):
            await exchange(desk, GrpcStream(context))

    return process


def _server(body_bytes: int) -> grpc.aio.Server:
    return grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", body_bytes + _HEADROOM),
            ("grpc.so_reuseport", 0),  # a port that is taken is an error
            # Envoy asks now and then whether the connection lives, with and without requests.
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_ping_strikes", 0),
        ]
    )
