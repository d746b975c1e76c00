"""The picker as gRPC services: Envoy's external processing, and health."""

from collections.abc import Mapping

from slosched_server.picker.call import Call
from slosched_server.picker.desk import Desk
from slosched_server.picker.exchange import exchange
from slosched_server.picker.grpc_connection import Method
from slosched_server.picker.health import EXTERNAL_PROCESSOR, Health
from slosched_server.picker.stream import CallStream


def health_methods(health: Health) -> Mapping[bytes, Method]:
    """Return the methods of health checking."""
    return {
        b"/grpc.health.v1.Health/Check": health.check,
        b"/grpc.health.v1.Health/Watch": health.watch,
    }


def picker_methods(desk: Desk, health: Health) -> Mapping[bytes, Method]:
    """Return all that Envoy asks of a picker."""

    async def process(call: Call) -> None:
        with desk.attends():
            await exchange(desk, CallStream(call))
        if not desk.is_open:
            # A Service leads new connections to whoever leads, old ones stay where they are.
            call.send_away()

    return {f"/{EXTERNAL_PROCESSOR}/Process".encode(): process, **health_methods(health)}
