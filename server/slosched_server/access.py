"""Who may ask, and for what."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from slosched_server.caller import Caller
from slosched_server.errors import ApiError
from slosched_server.keys import PREFIX, Keyring
from slosched_server.listen import is_loopback
from slosched_server.refusals import no_key, not_admin, unknown_key
from slosched_server.upstream import RawHeaders

_AUTHORIZATION = b"authorization"
# Read here; an engine that reads them, too, is told by the body what counts.
_TAGS = (b"x-slo-", b"x-slosched-", b"x-gateway-", b"x-llm-d-")
_FORWARDED = frozenset({b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via"})


@dataclass(frozen=True, slots=True)
class Access:
    """Without keys everybody may ask for everything, and nobody may change anything.

    Parameters
    ----------
    keys
        Whose keys are known; None if none is asked for.
    anybody
        Who has no key: what they may say; None for everything.
    open
        Whether those may come though there are keys.
    engine_key
        What engines are sent in place of the client's key.
    metrics_open
        Whether everybody may see metrics.
    """

    keys: Keyring | None = None
    anybody: Caller | None = None
    open: bool = False
    engine_key: str = field(default="", repr=False)
    metrics_open: bool = False

    def enter(self, headers: RawHeaders) -> Caller | None:
        """Let a request in, and count it; None if its client may say whatever there is to say.

        Raises
        ------
        AccessError
            If a key is needed and is not there, is not known, or was used too often.
        """
        if self.keys is None:
            return self.anybody
        caller = self._caller(self.keys, headers)
        if caller is not None:
            caller.count_request()
        return caller

    def outgoing(self, headers: RawHeaders) -> RawHeaders:
        """Return those of a client's headers that are the engine's to see."""
        replaces = self.keys is not None or bool(self.engine_key)
        if not replaces and self.anybody is None:
            return headers
        kept = [
            pair
            for pair in headers
            if not pair[0].startswith(_TAGS) and not (replaces and pair[0] == _AUTHORIZATION)
        ]
        if self.engine_key:
            kept.append((_AUTHORIZATION, f"Bearer {self.engine_key}".encode()))
        return kept

    def check_admin(self, headers: RawHeaders) -> None:
        """Raise `ApiError` unless a request may see and change how the front end works."""
        if self.keys is None:
            message = "there are no keys, and so nobody may administer: see docs/securing.md"
            raise ApiError(403, message, "admin_key_needed", kind="permission_error")
        caller = self._caller(self.keys, headers)
        if caller is None or not caller.admin:
            raise not_admin()

    def check_metrics(self, client: str, headers: RawHeaders) -> None:
        """Raise `ApiError` unless a request, from some address, may see metrics."""
        here = is_loopback(client) and not any(name in _FORWARDED for name, _ in headers)
        if self.keys is not None and not self.metrics_open and not here:
            self.check_admin(headers)

    def _caller(self, keys: Keyring, headers: RawHeaders) -> Caller | None:
        key = _bearer(headers)
        if key is not None and (caller := keys.find(key)):
            return caller
        # OpenAI's clients send a key whether there is one or not; one of ours is no such word.
        if self.open and not (key and key.startswith(PREFIX.encode())):
            return self.anybody
        raise no_key() if key is None else unknown_key()


def _bearer(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """Return the key that a request has: None without any, b"" for what is no key."""
    said = [value for name, value in headers if name == _AUTHORIZATION]
    if not said:
        return None
    scheme, _, key = said[0].strip().partition(b" ")
    return key.strip() if len(said) == 1 and scheme.lower() == b"bearer" else b""
