"""One request, from its head to the end of its answer, as Envoy asks about it."""

from collections.abc import Set as AbstractSet

from slosched_server.errors import ApiError
from slosched_server.picker.desk import Desk
from slosched_server.picker.dialogue import Dialogue, GoneError
from slosched_server.picker.ext_proc_pb2 import (
    BUFFERED,
    FULL_DUPLEX_STREAMED,
    BodySendMode,
)
from slosched_server.picker.head import Head
from slosched_server.picker.planned import Planned
from slosched_server.picker.refusals import bad_gateway_mode, no_endpoint
from slosched_server.picker.stream import Stream

# Whether streams of their answers name their events.
_PLANNED = {"/v1/chat/completions": False, "/v1/completions": False, "/v1/responses": True}


async def exchange(desk: Desk, stream: Stream) -> None:
    """See a request through, for as long as Envoy asks about it."""
    first = await stream.read()
    if first is None or not first.HasField("request_headers"):
        return
    head = Head.of(first)
    dialogue = Dialogue(stream, head)
    only = None if head.subset is None else desk.endpoints.names(head.subset)
    try:
        if head.method != "POST" or head.path not in _PLANNED:
            await _passed_on(desk, dialogue, only)
        elif head.request_mode not in {BUFFERED, FULL_DUPLEX_STREAMED}:
            await dialogue.refuse(bad_gateway_mode(BodySendMode.Name(head.request_mode)))
        else:
            named = _PLANNED[head.path]
            await Planned(desk, dialogue, only, named_events=named).run()
    except GoneError:
        pass


async def _passed_on(desk: Desk, dialogue: Dialogue, only: AbstractSet[str] | None) -> None:
    """Send a request that no plan is made for to whoever has the least to do."""
    access, headers = desk.in_force.rules.access, dialogue.head.headers
    try:
        access.enter(headers)
        replica = desk.endpoints.idlest(only)
        if replica is None:
            raise no_endpoint()
    except ApiError as error:
        await dialogue.refuse(error)
        return
    endpoints = desk.endpoints.destination(replica, only)
    await dialogue.send_unread(endpoints, access.outgoing(headers))
    await dialogue.answer_head()
    async for _ in dialogue.answer():
        pass
