"""The messages of one exchange, out of gRPC."""

from typing import Protocol

import grpc

from slosched_server.picker.ext_proc_pb2 import ProcessingRequest, ProcessingResponse


class Stream(Protocol):
    """Messages from Envoy and back."""

    async def read(self) -> ProcessingRequest | None:
        """Wait for the next message; None once Envoy has ended the exchange."""
        ...

    async def write(self, message: ProcessingResponse) -> None:
        """Send a message."""
        ...


class GrpcStream:
    """A `Stream` of one gRPC call."""

    def __init__(
        self, context: "grpc.aio.ServicerContext[ProcessingRequest, ProcessingResponse]"
    ) -> None:
        self._context = context

    async def read(self) -> ProcessingRequest | None:
        """See `Stream`."""
        message = await self._context.read()
        return message if isinstance(message, ProcessingRequest) else None

    async def write(self, message: ProcessingResponse) -> None:
        """See `Stream`."""
        await self._context.write(message)
