"""From a client's request to a tagged one: what it asks for goes into the body for the engine."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import orjson

from slosched.core.tags import SERVICE_TIER, Headers, Tag, to_xargs
from slosched_server.body import read_object
from slosched_server.errors import bad_request
from slosched_server.sizes import Size, size

RESERVED = "slosched_"
XARGS = "vllm_xargs"


class TagReader(Protocol):
    """Who reads tags: a `Tagger`, or one that also knows what a client may say."""

    def read(self, headers: Headers, service_tier: object = None) -> Tag:
        """Read a tag from raw HTTP headers and the body's `service_tier`."""
        ...


@dataclass(frozen=True, slots=True)
class TaggedRequest:
    """A request that is ready for the engine.

    Parameters
    ----------
    tag
        What it asks for.
    write
        Writes the client's body with a tag in `vllm_xargs`.
    stream
        Whether the client wants the answer token by token.
    size
        How large it is.
    model
        That it names, "" if it names none.
    """

    tag: Tag
    write: Callable[[Tag], bytes]
    stream: bool
    size: Size
    model: str


def tag_request(
    tagger: TagReader, headers: Sequence[tuple[bytes, bytes]], body: bytes
) -> TaggedRequest:
    """Read the tag of a request and write it into its body.

    Raises
    ------
    TagError
        If a header, or the body's `service_tier`, is malformed or names an unknown class.
    ApiError
        If the body is no JSON object, or carries engine arguments that are ours to write; or
        if the client may not ask so.
    """
    fields = read_object(body)
    tag = tagger.read(headers, fields.get(SERVICE_TIER))
    streams = fields.get("stream") is True
    client_xargs = _client_xargs(fields) if XARGS in fields else None
    write = partial(_with_xargs, body, client_xargs, bool(fields))
    model = fields.get("model")
    return TaggedRequest(tag, write, streams, size(fields), model if isinstance(model, str) else "")


def _with_xargs(
    body: bytes, client_xargs: Mapping[str, object] | None, has_fields: bool, tag: Tag
) -> bytes:
    if client_xargs is not None:
        # Rare, and the only case that writes the body anew: a second key of the same name would
        # leave it to the engine's JSON parser which of the two counts.
        # json, not orjson: whole numbers of more than 64 bits keep their value.
        tagged = {**json.loads(body), XARGS: {**client_xargs, **to_xargs(tag, in_full=True)}}
        return json.dumps(tagged, separators=(",", ":")).encode()
    # Spliced in, so that every byte of the client's stays: no number is spelled anew.
    start = body.index(b"{") + 1
    comma = b"," if has_fields else b""
    return b'%b"%b":%b%b%b' % (
        body[:start],
        XARGS.encode(),
        orjson.dumps(to_xargs(tag, in_full=True)),
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
