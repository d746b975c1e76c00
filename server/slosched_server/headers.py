"""From a client's request to a tagged one: what it asks for goes into the body for the engine."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from slosched.core.tags import SERVICE_TIER, Tag, Tagger, to_xargs
from slosched_server.errors import bad_request
from slosched_server.sizes import Size, size

RESERVED = "slosched_"
XARGS = "vllm_xargs"


@dataclass(frozen=True, slots=True)
class TaggedRequest:
    """A request that is ready for the engine.

    Parameters
    ----------
    tag
        What it asks for.
    body
        The client's body, with the tag in `vllm_xargs`.
    stream
        Whether the client wants the answer token by token.
    size
        How large it is.
    """

    tag: Tag
    body: bytes
    stream: bool
    size: Size


def tag_request(
    tagger: Tagger, headers: Sequence[tuple[bytes, bytes]], body: bytes
) -> TaggedRequest:
    """Read the tag of a request and write it into its body.

    Raises
    ------
    TagError
        If a header, or the body's `service_tier`, is malformed or names an unknown class.
    ApiError
        If the body is no JSON object, or carries engine arguments that are ours to write.
    """
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise bad_request(f"the body is not valid JSON: {error}") from None
    if not isinstance(fields, dict):
        raise bad_request("the body must be a JSON object")
    tag = tagger.read(headers, fields.get(SERVICE_TIER))
    streams = fields.get("stream") is True
    return TaggedRequest(tag, _with_xargs(body, fields, tag), streams, size(fields))


def _with_xargs(body: bytes, fields: Mapping[str, object], tag: Tag) -> bytes:
    if XARGS in fields:
        # Rare, and the only case that writes the body anew: a second key of the same name would
        # leave it to the engine's JSON parser which of the two counts.
        # json, not orjson: whole numbers of more than 64 bits keep their value.
        tagged = {**json.loads(body), XARGS: {**_client_xargs(fields), **to_xargs(tag)}}
        return json.dumps(tagged, separators=(",", ":")).encode()
    # Spliced in, so that every byte of the client's stays: no number is spelled anew.
    start = body.index(b"{") + 1
    comma = b"," if fields else b""
    return b'%b"%b":%b%b%b' % (
        body[:start],
        XARGS.encode(),
        orjson.dumps(to_xargs(tag)),
        comma,
        body[start:],
    )


def _client_xargs(fields: Mapping[str, object]) -> Mapping[str, object]:
    xargs = fields[XARGS]
    if xargs is None:
        return {}
    if not isinstance(xargs, dict):
        raise bad_request(f"{XARGS}: must be an object", XARGS)
    for key in xargs:
        if key.startswith(RESERVED):
            # They would go around the checks of the headers.
            raise bad_request(f"{XARGS}.{key}: say it with an x-slo-* header", f"{XARGS}.{key}")
    return xargs
