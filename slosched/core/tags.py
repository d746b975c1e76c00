"""How a request says what it asks for: HTTP headers in, engine arguments out, and back."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from math import inf, nan
from types import MappingProxyType
from typing import Literal

from slosched.core.errors import TagError
from slosched.core.slo import Slo, SloClass

# x-gateway- is how llm-d's router called what it calls x-llm-d- now; it takes both, as we do.
CLASS_HEADERS = ("x-slo-class", "x-llm-d-inference-objective", "x-gateway-inference-objective")
TARGET_HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "x-slo-ttft-ms": "ttft",
        "x-slo-tpot-ms": "tpot",
        "x-slo-e2e-ms": "e2e",
        "x-llm-d-slo-ttft-ms": "ttft",
        "x-llm-d-slo-tpot-ms": "tpot",
    }
)
TENANT_HEADERS = ("x-llm-d-inference-fairness-id", "x-gateway-inference-fairness-id")
TENANT_HEADER = TENANT_HEADERS[-1]
SERVICE_TIER = "service_tier"
_SAYS: Mapping[bytes, str] = MappingProxyType(
    {
        **{name.encode(): "class" for name in CLASS_HEADERS},
        **{name.encode(): limit for name, limit in TARGET_HEADERS.items()},
        **{name.encode(): "tenant" for name in TENANT_HEADERS},
    }
)
_OURS_ALONE = (b"x-slo-", b"x-llm-d-slo-")
_DIGITS = re.compile(r"[1-9][0-9]{0,8}")
_NAME = re.compile(r"[A-Za-z0-9._:/-]{1,128}")
_NEUTRAL_TIERS = ("auto", "default")
_XARG_LIMITS = {"ttft": "slosched_ttft_ms", "tpot": "slosched_tpot_ms", "e2e": "slosched_e2e_ms"}
_XARG_WEIGHT = "slosched_weight"

Headers = Iterable[tuple[bytes, bytes]]
About = Literal["class", "target", "tenant"]


@dataclass(frozen=True, slots=True)
class Tag:
    """What one request asked for.

    Parameters
    ----------
    slo_class
        The class that it is counted under.
    slo
        Its limits: the class's, or where there are explicit targets, those and no others.
    tenant
        Who it is for, "" if nobody said.
    explicit
        Names of the limits that were given one by one.
    """

    slo_class: str
    slo: Slo
    tenant: str = ""
    explicit: frozenset[str] = frozenset()


class Tagger:
    """Reads tags against the configured classes.

    Parameters
    ----------
    classes
        The known classes, by name.
    default_class
        For requests that ask for nothing.

    Attributes
    ----------
    default_class
        As given.

    Raises
    ------
    ValueError
        If there is no class, or the default is not among them.
    """

    def __init__(self, classes: Mapping[str, SloClass], default_class: str) -> None:
        if default_class not in classes:
            known = ", ".join(classes) or "none"
            raise ValueError(f"default_class: no class {default_class!r}; known: {known}")
        self._classes = dict(classes)
        self.default_class = default_class
        self._tiers = {c.service_tier: c.name for c in classes.values() if c.service_tier}

    def with_default(self, default_class: str) -> "Tagger":
        """Return one for the same classes, of which another is the default; raises as `Tagger`."""
        return Tagger(self._classes, default_class)

    def read(self, headers: Headers, service_tier: object = None) -> Tag:
        """Read a tag from raw HTTP headers and the body's `service_tier`.

        Explicit targets win over the class header, it over `service_tier`, it over the default.

        Raises
        ------
        TagError
            If anything is malformed, unknown, or said twice in two ways (law 11).
        """
        chosen: dict[str, tuple[str, str]] = {}
        for raw_name, raw_value in headers:
            lower = raw_name.lower()
            key = _SAYS.get(lower)
            if key is None:
                if lower.startswith(_OURS_ALONE):
                    raise _typo(lower.decode("latin-1"))
                continue
            name = lower.decode("latin-1")
            value = raw_value.decode("latin-1").strip(" \t")
            if key in chosen and chosen[key][1] != value:
                raise TagError(
                    name, f"says {value!r}, but {chosen[key][0]} said {chosen[key][1]!r}"
                )
            chosen[key] = (name, value)
        name = self._class_of(chosen.pop("class", None), service_tier)
        tenant = _tenant(chosen.pop("tenant", None))
        return self._tag(name, tenant, {k: _milliseconds(*v) for k, v in chosen.items()})

    def from_xargs(self, xargs: Mapping[str, object] | None) -> Tag:
        """Read a tag back from the engine arguments that `to_xargs` wrote.

        A request that carries none is of the default class: it came around the front end. Whoever
        wrote them may know other classes, so that limits and weight count before the class.

        Raises
        ------
        TagError
            If the arguments are malformed, or name an unknown class and no limits.
        """
        xargs = xargs or {}
        name = str(xargs.get("slosched_class", self.default_class))
        limits = {
            limit: _milliseconds(xarg, str(xargs[xarg]))
            for limit, xarg in _XARG_LIMITS.items()
            if xarg in xargs
        }
        if not limits:
            self._known(name, "slosched_class")
        tenant = str(xargs.get("slosched_tenant", ""))
        return self._tag(name, tenant, limits, _weight(xargs.get(_XARG_WEIGHT)))

    def _class_of(self, header: tuple[str, str] | None, service_tier: object) -> str:
        if header is not None:
            self._known(header[1], header[0])
            return header[1]
        if service_tier is None or service_tier in _NEUTRAL_TIERS:
            tier = self._tiers.get("default") if service_tier == "default" else None
            return tier or self.default_class
        if not isinstance(service_tier, str) or service_tier not in self._tiers:
            known = ", ".join(sorted({*self._tiers, *_NEUTRAL_TIERS}))
            raise TagError(SERVICE_TIER, f"no class for {service_tier!r}; known: {known}")
        return self._tiers[service_tier]

    def _known(self, name: str, source: str) -> None:
        if name not in self._classes:
            close = get_close_matches(name, self._classes, 1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(self._classes)}"
            raise TagError(source, f"unknown class {name[:80]!r}, {hint}")

    def _tag(
        self, name: str, tenant: str, limits: Mapping[str, int], weight: float | None = None
    ) -> Tag:
        known = self._classes.get(name)
        if known is not None and not limits:
            return Tag(name, known.slo, tenant)
        if weight is None:
            weight = known.slo.weight if known else 1.0
        seconds = {k: limits[k] / 1e3 if k in limits else inf for k in ("ttft", "tpot", "e2e")}
        return Tag(name, Slo(**seconds, weight=weight), tenant, frozenset(limits))


def about(header: bytes) -> About | None:
    """Return what a header is about; None if it is not for us to read.

    One that can only be meant for us, and is misspelt, passes for one that names a class.
    """
    name = header.lower()
    said = _SAYS.get(name)
    if said == "class" or (said is None and name.startswith(_OURS_ALONE)):
        return "class"
    return None if said is None else "tenant" if said == "tenant" else "target"


def to_xargs(tag: Tag, *, in_full: bool = False) -> dict[str, str | int | float]:
    """Write a tag as flat engine arguments (`vllm_xargs`), which `from_xargs` reads back.

    In full it needs no class of that name where it is read: limits and weight are in it.
    """
    xargs: dict[str, str | int | float] = {"slosched_class": tag.slo_class}
    if tag.tenant:
        xargs["slosched_tenant"] = tag.tenant
    for limit, xarg in _XARG_LIMITS.items():
        seconds = getattr(tag.slo, limit)
        if limit in tag.explicit or (in_full and seconds < inf):
            xargs[xarg] = max(round(seconds * 1e3), 1)
    if in_full and tag.slo.weight != 1.0:
        xargs[_XARG_WEIGHT] = tag.slo.weight
    return xargs


def to_headers(tag: Tag) -> dict[str, str]:
    """Write a tag as HTTP headers, which `Tagger.read` reads back."""
    headers = {CLASS_HEADERS[0]: tag.slo_class}
    if tag.tenant:
        headers[TENANT_HEADER] = tag.tenant
    for limit in sorted(tag.explicit):
        headers[f"x-slo-{limit}-ms"] = str(max(round(getattr(tag.slo, limit) * 1e3), 1))
    return headers


def to_vllm_priority(priority: int) -> int:
    """Convert between our priorities, higher first, and vLLM's, lower first.

    Both fit 64 bits, which the negative of the lowest number does not: it becomes the highest.
    """
    return min(-priority, 2**63 - 1)


def _weight(value: object) -> float | None:
    if value is None:
        return None
    try:
        weight = float(str(value))
    except ValueError:
        weight = nan
    if not 0 < weight < inf:
        raise TagError(_XARG_WEIGHT, f"must be a number greater than 0, got {str(value)[:80]!r}")
    return weight


def _typo(name: str) -> TagError:
    """Blame a header that can only have been meant for us; nobody else's start like these."""
    known = (*CLASS_HEADERS, *TARGET_HEADERS)
    close = get_close_matches(name, known, 1)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
    return TagError(name[:80], f"unknown header, {hint}")


def _milliseconds(source: str, value: str) -> int:
    if not _DIGITS.fullmatch(value):
        raise TagError(
            source, f"must be whole milliseconds from 1 to 999999999, got {value[:80]!r}"
        )
    return int(value)


def _tenant(header: tuple[str, str] | None) -> str:
    if header is None:
        return ""
    if not _NAME.fullmatch(header[1]):
        raise TagError(header[0], "must be 1 to 128 letters, digits or any of . _ : / -")
    return header[1]
