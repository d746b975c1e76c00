"""Law 1 at the picker: whatever Envoy says, in whatever order, nothing is left of it."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from slosched_server.picker.ext_proc_pb2 import (
    BodySendMode,
    HeaderMap,
    HttpHeaders,
    HttpTrailers,
    Metadata,
    ProcessingRequest,
    ProtocolConfiguration,
)
from tests.picker.desks import desk
from tests.picker.fake_envoy import answer_body, answer_head, answer_trailers, asking, body, head
from tests.strategies import tag_headers

_MODES = st.sampled_from(BodySendMode.values())
_PIECES = st.sampled_from([b"", b"{}", b'{"stream":true}', b"data: a\n\n", b"\xff"])
_HEADS = st.builds(
    head,
    tag_headers | st.just([]),
    target=st.sampled_from(["/v1/completions", "/v1/responses?a", "/v1/models", "", "\xff"]),
    method=st.sampled_from(["POST", "GET", ""]),
    mode=_MODES,
    shown=_MODES,
    ended=st.booleans(),
    subset=st.sampled_from([None, None, "", "10.0.0.1:8000", ["10.0.0.2:8000", 3, None], {}, 7.0]),
)
_SERVED = st.sampled_from(["", "10.0.0.1:8000", "10.0.0.2:8000", "junk"])
MESSAGES = st.one_of(
    _HEADS,
    st.builds(body, _PIECES, last=st.booleans()),
    st.builds(answer_head, st.sampled_from([200, 404, 503]), _SERVED, ended=st.booleans()),
    st.builds(answer_body, _PIECES, last=st.booleans()),
    st.builds(answer_trailers),
    st.builds(lambda: ProcessingRequest(request_trailers=HttpTrailers())),
    st.builds(ProcessingRequest),
    st.builds(
        lambda mode: ProcessingRequest(
            response_headers=HttpHeaders(headers=HeaderMap()),
            metadata_context=Metadata(),
            protocol_config=ProtocolConfiguration(request_body_mode=mode),
        ),
        _MODES,
    ),
)
# Most begin as exchanges do, so that most get somewhere.
EXCHANGES = st.tuples(_HEADS | MESSAGES, st.lists(MESSAGES, max_size=7)).map(
    lambda pair: [pair[0], *pair[1]]
)


@given(exchanges=st.lists(EXCHANGES, min_size=1, max_size=8), together=st.booleans())
def test_law_1_any_messages_in_any_order_leave_nothing(
    exchanges: list[list[ProcessingRequest]], together: bool
) -> None:
    """Side by side they wait for each other, too."""

    async def one(picker: object, messages: list[ProcessingRequest]) -> None:
        async with asking(picker.desk, *messages) as envoy:  # type: ignore[attr-defined]
            envoy.end()

    async def main() -> None:
        async with desk("fleet.probe_every_s=0.01", slots=1) as picker:
            asked = [one(picker, messages) for messages in exchanges]
            if together:
                await asyncio.gather(*asked)
            else:
                for each in asked:
                    await each
            assert picker.empty

    asyncio.run(main())
