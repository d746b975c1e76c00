"""What fuzz.py asks for: requests out of the OpenAPI file, and requests with junk for headers."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from urllib.parse import quote

import schemathesis
from common import FOLDER
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from requests import Request
from schemathesis import Case, GenerationMode

from slosched.core.tags import CLASS_HEADERS, TARGET_HEADERS, TENANT_HEADERS

FILE = FOLDER.parent / "docs" / "openapi.yaml"
_URL = "http://gateway"
T = TypeVar("T")
_OWN = [*CLASS_HEADERS, *TARGET_HEADERS, *TENANT_HEADERS]
_OTHERS = [
    "connection", "upgrade", "expect", "te", "trailer", "keep-alive", "accept-encoding",
    "content-type", "content-encoding", "authorization", "x-request-id", "range", "if-none-match",
    "proxy-connection", "x-slo-", "x-slo-tfft-ms", "priority", "x-forwarded-for", "via", "cookie",
    "x-simulated-output-tokens", "date", "x",
]  # fmt: skip
_SAID = [
    b"interactive", b"batch", b"gold", b"250", b"0", b"1e3", b" 7 ", b"-1", b"", b"upgrade", b"h2c",
    b"websocket", b"close", b"keep-alive, x", b"100-continue", b"gzip", b"br", b"trailers",
    b"application/json", b"text/plain; charset=utf-16", b"Bearer k", b"bytes=0-1", b"9" * 40,
]  # fmt: skip
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
_PATHS = ["/", "/v1", "/v1/", "/v1/completions/", "/v1//completions", "/v1/files", "/%2e%2e/x"]
_ENDLESS = "/dashboard/events"  # nobody could wait for the end of its answer
_UPGRADES = [b"websocket", b"h2c", b"TLS/1.0"]


@dataclass(frozen=True, slots=True)
class Wire:
    """A request as it goes over the wire.

    Parameters
    ----------
    hang_up
        Whether the client goes away with the first bytes of the answer.
    """

    method: str
    target: str
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes = b""
    hang_up: bool = False

    def bytes(self) -> bytes:
        """Write it."""
        length = b"content-length: %d" % len(self.body)
        fields = [b"%b: %b" % pair for pair in self.headers]
        first = f"{self.method} {self.target} HTTP/1.1".encode()
        return b"\r\n".join([first, b"host: x", length, *fields, b"", self.body])


def draw(number: int, number_seed: int, send: Callable[[Wire], None]) -> None:
    """Send so many requests: half out of the file, valid and not; half with junk for headers."""
    found = (one.ok() for one in schemathesis.openapi.from_path(FILE).get_all_operations())
    operations = [one for one in found if one.path != _ENDLESS]
    # Who has a body has more to be drawn.
    weighed = [(one, 16 if one.path.endswith(("completions", "/responses")) else 1)
               for one in operations]  # fmt: skip
    share = number / 4 / sum(weight for _, weight in weighed)
    sent = 0

    def counted(wire: Wire) -> None:
        nonlocal sent
        sent += 1
        send(wire)

    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        for operation, weight in weighed:
            cases = st.tuples(operation.as_strategy(generation_mode=mode), _amends())
            _each(cases, max(int(share * weight), 1), number_seed, lambda c: counted(_wire(*c)))
    paths = [one.path.replace("{", "").replace("}", "") for one in operations]
    while sent < number:  # few operations have as many cases as were asked for
        number_seed += 1
        _each(_junk([*paths, *_PATHS]), min(number - sent, 500), number_seed, counted)


def _each(
    strategy: st.SearchStrategy[T], most: int, number_seed: int, use: Callable[[T], None]
) -> None:
    @seed(number_seed)
    @settings(
        max_examples=most, phases=[Phase.generate], database=None, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(strategy)
    def go(case: T) -> None:
        use(case)

    with suppress(Unsatisfiable):  # who takes nothing can be given nothing wrong
        go()


def _amends() -> st.SearchStrategy[dict[str, Any]]:
    """Names that exist: of those that are drawn, next to none would come to the engine."""
    return st.fixed_dictionaries(
        {
            "slo_class": st.sampled_from([None, b"interactive", b"batch"]),
            "known_model": st.booleans(),
            "streams": st.booleans(),
            "hang_up": st.sampled_from([False] * 9 + [True]),
        }
    )


def _wire(case: Case, amends: dict[str, Any]) -> Wire:
    ready = Request(**case.as_transport_kwargs(base_url=_URL)).prepare()
    body = ready.body or b""
    headers = [(k.lower(), v) for k, v in ready.headers.items() if k.lower() != "content-length"]
    raw = [(_raw(key), _raw(value)) for key, value in headers]
    wire = Wire(ready.method, ready.path_url, raw, _raw(body), amends["hang_up"])
    return _amended(wire, amends) if amends["known_model"] else wire


def _amended(wire: Wire, amends: dict[str, Any]) -> Wire:
    own = {name.encode() for name in _OWN}
    headers = [pair for pair in wire.headers if pair[0] not in own]
    if amends["slo_class"]:
        headers.append((b"x-slo-class", amends["slo_class"]))
    try:
        fields = json.loads(wire.body)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        return replace(wire, headers=headers)
    fields.pop("service_tier", None)
    fields |= {"model": "simulated", "stream": amends["streams"]}
    return replace(wire, headers=headers, body=json.dumps(fields).encode())


def _raw(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")


def _junk(paths: Sequence[str]) -> st.SearchStrategy[Wire]:
    text = st.text(max_size=12).map(lambda drawn: drawn.encode(errors="surrogatepass"))
    name = st.one_of(
        st.sampled_from(_OWN),
        st.sampled_from(_OTHERS),
        st.from_regex(r"[A-Za-z0-9-]{1,12}", fullmatch=True),
    ).map(str.encode)
    value = st.one_of(st.sampled_from(_SAID), text, st.binary(max_size=300), st.just(b"a" * 70_000))
    body = st.one_of(
        st.sampled_from(
            [b"", b"{}", b"[]", b'{"prompt":"a"}', b'{"prompt":"a","stream":true}', b"{" * 3000]
        ),
        st.binary(max_size=200),
    )
    headers = st.lists(st.tuples(name, value), max_size=5)
    upgrade = st.sampled_from(_UPGRADES).map(
        lambda to: [(b"connection", b"upgrade"), (b"upgrade", to)]
    )
    upgraded = st.tuples(headers, upgrade).map(lambda two: two[0] + two[1])
    # Half of what is asked goes to where bodies are read.
    somewhere = st.one_of(st.sampled_from(paths), st.text(max_size=9).map(_quoted))
    path = st.one_of(st.just("/v1/completions"), somewhere)
    return st.builds(
        Wire,
        st.one_of(st.just("POST"), st.sampled_from(_METHODS)),
        path,
        st.one_of(headers, headers, upgraded),
        body,
        st.sampled_from([False] * 9 + [True]),
    )


def _quoted(path: str) -> str:
    return "/" + quote(path, errors="replace")
