"""The messages of one exchange with Envoy."""

from collections.abc import Callable
from typing import Protocol

from slosched_server.picker.call import Call
from slosched_server.picker.ext_proc_pb2 import ProcessingRequest, ProcessingResponse


class Stream(Protocol):
    """Messages from Envoy and back."""

    async def read(self) -> ProcessingRequest | None:
        """Wait for the next message; None once Envoy has ended the exchange."""
        ...

    async def write(self, message: ProcessingResponse) -> None:
        """Send a message."""
        ...

    def when_ended(self, callback: Callable[[], None]) -> None:
        """Call somebody once Envoy has ended the exchange; at once if it has."""
        ...


class CallStream:
    """A `Stream` of one gRPC call."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def read(self) -> ProcessingRequest | None:
        """See `Stream`."""
        message = await self._call.read()
        return None if message is None else ProcessingRequest.FromString(message)

    async def write(self, message: ProcessingResponse) -> None:
        """See `Stream`."""
        await self._call.write(message.SerializeToString())

    def when_ended(self, callback: Callable[[], None]) -> None:
        """See `Stream`."""
        self._call.when_ended(callback)
