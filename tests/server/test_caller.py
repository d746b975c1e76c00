"""Law 18: tags that are not for a client to say are ignored, or refused by name; never believed."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched.core.errors import TagError
from slosched.core.tags import CLASS_HEADERS, TARGET_HEADERS, TENANT_HEADERS
from slosched_server.caller import Caller
from slosched_server.refusals import AccessError
from tests.server.front_end import CLASSES, TAGGER
from tests.strategies import tag_headers

BATCH = TAGGER.with_default("batch")
TAGS = (*CLASS_HEADERS, *TARGET_HEADERS, *TENANT_HEADERS, "x-slo-clas")
values = st.sampled_from(["interactive", "batch", "gold", "100", "soon"])
said = st.lists(st.tuples(st.sampled_from([*TAGS, "accept"]), values), max_size=3) | st.lists(
    st.tuples(st.sampled_from(TAGS), values), max_size=1
)
tiers = st.sampled_from([None, "auto", "default", "flex", "gold", 3])
callers = st.builds(
    Caller,
    tagger=st.sampled_from([TAGGER, BATCH]),
    classes=st.sampled_from([None, (), ("batch",), ("interactive", "batch")]),
    targets=st.booleans(),
    tenants=st.booleans(),
    strips=st.booleans(),
    tenant=st.sampled_from(["", "own"]),
)


def raw(headers: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers]


@given(caller=callers, headers=said, tier=tiers)
def test_nobody_gets_what_is_not_for_them_to_ask(
    caller: Caller, headers: list[tuple[str, str]], tier: object
) -> None:
    try:
        tag = caller.read(raw(headers), tier)
    except AccessError:
        assert not caller.strips
        return
    except TagError:
        return
    allowed = {*CLASSES} if caller.classes is None else {*caller.classes}
    assert tag.slo_class in allowed | {caller.tagger.default_class}
    assert caller.targets or not tag.explicit
    assert tag.explicit or tag.slo == CLASSES[tag.slo_class].slo
    assert caller.tenants or tag.tenant == caller.tenant


@given(headers=said, tier=tiers)
def test_who_may_say_all_is_read_as_by_the_tagger(
    headers: list[tuple[str, str]], tier: object
) -> None:
    def read(reader: Any) -> object:
        try:
            return reader.read(raw(headers), tier)
        except TagError as error:
            return str(error)

    assert read(Caller(TAGGER, None, targets=True, tenants=True)) == read(TAGGER)


@given(headers=tag_headers, tier=tiers)
def test_junk_of_strangers_is_ignored_whatever_it_is(
    headers: list[tuple[bytes, bytes]], tier: object
) -> None:
    assert Caller(TAGGER, strips=True).read(headers, tier) == TAGGER.read(())


@given(name=st.sampled_from(TAGS), value=values, upper=st.booleans())
def test_a_refusal_names_the_header(name: str, value: str, upper: bool) -> None:
    spelt = name.upper() if upper else name
    with pytest.raises(AccessError, match=spelt):
        Caller(TAGGER).read(raw([(spelt, value)]))


def test_a_class_that_is_not_allowed_is_refused_with_those_that_are() -> None:
    caller = Caller(BATCH, ("batch",))
    with pytest.raises(AccessError, match=r"x-slo-class: .*'interactive', only for: batch"):
        caller.read([(b"x-slo-class", b"interactive")])
    with pytest.raises(AccessError, match=r"service_tier: .*'batch', only for: interactive"):
        Caller(TAGGER, ("interactive",)).read((), "flex")


def test_a_class_that_is_not_allowed_is_ignored_and_limits_stay() -> None:
    caller = Caller(BATCH, ("batch",), targets=True, strips=True)
    tag = caller.read([(b"x-slo-class", b"interactive"), (b"x-slo-e2e-ms", b"70")])
    assert (tag.slo_class, tag.slo.e2e, tag.explicit) == ("batch", 0.07, frozenset({"e2e"}))


def test_a_typo_of_somebody_who_may_name_classes_is_none_to_ignore() -> None:
    with pytest.raises(TagError, match="did you mean x-slo-class"):
        Caller(TAGGER, ("interactive",), strips=True).read([(b"x-slo-clas", b"batch")])
