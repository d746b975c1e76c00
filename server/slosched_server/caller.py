"""A client: what it may say of its requests, and how much it may ask for."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from slosched.core.tags import SERVICE_TIER, Headers, Tag, Tagger, about
from slosched_server.rates import Meter
from slosched_server.refusals import class_not_allowed, tag_not_allowed
from slosched_server.sizes import Size
from slosched_server.upstream import RawHeaders

_USUAL_TOKENS = 200  # of an answer without a bound, as predictors have it that know nothing

Pairs = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as the file of keys has it; or anybody, where tags of those do not count.

    Parameters
    ----------
    tagger
        Reads tags; its default class is for those of this client's requests that name none.
    classes
        What it may ask for by name; None for all classes.
    targets, tenants
        Whether it may set limits of its own, and say for which tenant a request is.
    strips
        Whether what it may not say is ignored; refused otherwise.
    tenant
        For whom its requests are unless it says so.
    admin
        Whether it may change how the front end works.
    meter
        What is left of its rate limits; None without any.
    """

    tagger: Tagger
    classes: Collection[str] | None = ()
    targets: bool = False
    tenants: bool = False
    strips: bool = False
    tenant: str = ""
    admin: bool = False
    meter: Meter | None = None

    def read(self, headers: Headers, service_tier: object = None) -> Tag:
        """Read a tag as `Tagger.read` does, of what this client may say.

        Raises
        ------
        TagError
            If it is malformed or unknown.
        AccessError
            If it is not for this client to say, and is not to be ignored.
        """
        heard = [pair for pair in headers if self._hears(pair[0])]
        mute = self.strips and not self._names_classes
        tag = self.tagger.read(heard, None if mute else service_tier)
        if not self._may_ask(tag.slo_class):
            tag = self.tagger.read(self._without_class(heard, tag.slo_class))
        return Tag(tag.slo_class, tag.slo, tag.tenant or self.tenant, tag.explicit)

    def count_request(self) -> None:
        """Count a request; raise `AccessError` if it is one too many."""
        if self.meter:
            self.meter.take("requests", 1)

    def count_tokens(self, size: Size) -> None:
        """Count a request's prompt, and what may come of it; raise `AccessError` if too many."""
        if self.meter:
            self.meter.take("tokens", size.input_tokens + (size.max_tokens or _USUAL_TOKENS))

    def headers(self) -> RawHeaders:
        """Say what is left, for the head of an answer."""
        return self.meter.headers() if self.meter else ()

    @property
    def _names_classes(self) -> bool:
        return self.classes is None or bool(self.classes)

    def _may_ask(self, name: str) -> bool:
        known = self.classes is None or name in self.classes
        return known or name == self.tagger.default_class

    def _hears(self, name: bytes) -> bool:
        """Whether a header is to be read."""
        match about(name):
            case None:
                return True
            case "class":
                allowed = self._names_classes
            case "target":
                allowed = self.targets
            case "tenant":
                allowed = self.tenants
        if not allowed and not self.strips:
            raise tag_not_allowed(name.decode("latin-1"))
        return allowed

    def _without_class(self, heard: Pairs, named: str) -> Pairs:
        sources = [name for name, _ in heard if about(name) == "class"]
        if not self.strips:
            source = sources[0].decode("latin-1") if sources else SERVICE_TIER
            raise class_not_allowed(named, source, self.classes or (self.tagger.default_class,))
        return [pair for pair in heard if pair[0] not in sources]
