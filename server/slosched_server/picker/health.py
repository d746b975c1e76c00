"""gRPC health checks: of the process, and of its being the picker to ask."""

import asyncio

from slosched_server.picker.call import Call, CallError, Status
from slosched_server.picker.health_pb2 import (
    NOT_SERVING,
    SERVICE_UNKNOWN,
    SERVING,
    HealthCheckRequest,
    HealthCheckResponse,
    ServingStatus,
)

EXTERNAL_PROCESSOR = "envoy.service.ext_proc.v3.ExternalProcessor"
# A standby lives, and is not to be asked.
_ALIVE, _ASKED = ("liveness",), ("", "readiness", EXTERNAL_PROCESSOR)


class Health:
    """Tells how this picker is, by the services of the endpoint picker protocol."""

    def __init__(self) -> None:
        self._ready = False
        self._changed = asyncio.Event()

    def set(self, *, ready: bool) -> None:
        """Say whether this picker is the one to be asked."""
        self._ready = ready
        self._changed.set()
        self._changed = asyncio.Event()

    async def check(self, call: Call) -> None:
        """Answer once; CallError if there is no such service."""
        status = self._status(await _service(call))
        if status == SERVICE_UNKNOWN:
            raise CallError(Status.NOT_FOUND, "unknown service")
        await call.write(HealthCheckResponse(status=status).SerializeToString())

    async def watch(self, call: Call) -> None:
        """Answer now, and whenever it changes, until the client has heard enough."""
        service, told = await _service(call), None
        while True:
            changed, status = self._changed, self._status(service)
            if status != told:
                await call.write(HealthCheckResponse(status=status).SerializeToString())
                told = status
            await changed.wait()

    def _status(self, service: str) -> ServingStatus:
        if service in _ALIVE:
            return SERVING
        if service in _ASKED:
            return SERVING if self._ready else NOT_SERVING
        return SERVICE_UNKNOWN


async def _service(call: Call) -> str:
    return HealthCheckRequest.FromString(await call.read() or b"").service
