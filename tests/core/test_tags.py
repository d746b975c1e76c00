"""Law 11: any header junk gives an error or a valid class, never a silent default."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slosched import Slo, SloClass, TagError
from slosched.core.tags import (
    CLASS_HEADERS,
    TARGET_HEADERS,
    TENANT_HEADERS,
    Tagger,
    about,
    to_headers,
    to_xargs,
)
from tests.strategies import tag_headers

CLASSES = {
    "interactive": SloClass("interactive", Slo(ttft=1, weight=2)),
    "batch": SloClass("batch", Slo(e2e=30), service_tier="flex"),
}
TAGGER = Tagger(CLASSES, "interactive")
OURS = [*CLASS_HEADERS, *TARGET_HEADERS, *TENANT_HEADERS]


@settings(max_examples=400)
@given(
    tag_headers,
    st.none() | st.sampled_from(["flex", "auto", 3]) | st.text(max_size=8) | st.just([]),
)
def test_junk_is_an_error_or_exactly_what_was_asked(
    raw: list[tuple[bytes, bytes]], tier: object
) -> None:
    try:
        tag = TAGGER.read(raw, tier)
    except TagError as error:
        blamed = error.source in [*OURS, "service_tier"]
        assert blamed, error  # noqa: PT017 - either outcome is fine, each in its way
        return
    said = {name.decode(): value.decode("latin-1").strip(" \t") for name, value in raw}
    named = [said[header] for header in CLASS_HEADERS if header in said]
    if named:
        assert tag.slo_class == named[0]
    for header, limit in TARGET_HEADERS.items():
        if header in said:
            assert getattr(tag.slo, limit) == int(said[header]) / 1e3
    if not named:
        assert tag.slo_class == ("batch" if tier == "flex" else "interactive")
    assert tag.tenant == next((said[one] for one in TENANT_HEADERS if one in said), "")


@given(tag_headers)
def test_a_tag_survives_its_way_through_the_engines_arguments(
    raw: list[tuple[bytes, bytes]],
) -> None:
    try:
        tag = TAGGER.read(raw)
    except TagError:
        return
    assert TAGGER.from_xargs(to_xargs(tag)) == tag


@given(tag_headers)
def test_in_full_a_tag_survives_where_its_class_is_unknown(raw: list[tuple[bytes, bytes]]) -> None:
    """Classes come and go while engines know those that they were started with."""
    try:
        tag = TAGGER.read(raw)
    except TagError:
        return
    elsewhere = Tagger({"other": SloClass("other", Slo(e2e=9.0, weight=7.0))}, "other")
    there = elsewhere.from_xargs(to_xargs(tag, in_full=True))
    assert (there.slo_class, there.slo, there.tenant) == (tag.slo_class, tag.slo, tag.tenant)


@pytest.mark.parametrize("weight", ["x", 0, -1, "nan", "inf"])
def test_a_weight_that_is_none_is_refused(weight: object) -> None:
    with pytest.raises(TagError, match="slosched_weight"):
        TAGGER.from_xargs({"slosched_ttft_ms": 5, "slosched_weight": weight})


@given(tag_headers)
def test_a_tag_survives_its_way_through_headers(raw: list[tuple[bytes, bytes]]) -> None:
    try:
        tag = TAGGER.read(raw)
    except TagError:
        return
    written = [(name.encode(), value.encode()) for name, value in to_headers(tag).items()]
    assert TAGGER.read(written) == tag


def test_explicit_targets_win_over_the_class_and_it_over_the_tier() -> None:
    tag = TAGGER.read([(b"X-SLO-Class", b"batch"), (b"x-slo-ttft-ms", b"250")], "auto")
    assert (tag.slo_class, tag.slo) == ("batch", Slo(ttft=0.25))
    assert TAGGER.read([(b"x-slo-class", b"interactive")], "flex").slo_class == "interactive"


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        ([(b"x-slo-class", b"intractive")], "did you mean interactive?"),
        ([(b"x-slo-tfft-ms", b"500")], "unknown header, did you mean x-slo-ttft-ms?"),
        ([(b"x-slo-classs", b"batch")], "unknown header, did you mean x-slo-class?"),
        ([(b"x-slo-ttft-ms", b"0")], "whole milliseconds from 1"),
        ([(b"x-slo-class", b"batch"), (b"x-gateway-inference-objective", b"interactive")], "said"),
        ([(b"x-gateway-inference-fairness-id", b"a b")], "1 to 128 letters"),
        ([(b"x-llm-d-inference-objective", b"gold")], "unknown class"),
        (
            [(b"x-llm-d-inference-fairness-id", b"a"), (b"x-gateway-inference-fairness-id", b"b")],
            "said",
        ),
    ],
)
def test_errors_name_the_header_and_the_way_out(
    raw: list[tuple[bytes, bytes]], complaint: str
) -> None:
    with pytest.raises(TagError, match=complaint) as caught:
        TAGGER.read(raw)
    assert str(caught.value).startswith(raw[-1][0].decode())


def test_an_unknown_tier_is_refused() -> None:
    with pytest.raises(TagError, match="service_tier: no class for 'gold'; known: auto, default"):
        TAGGER.read([], "gold")


def test_what_a_header_is_about() -> None:
    """A typo passes for a class, so that whoever may name one hears of it."""
    said = [about(name.upper().encode()) for name in OURS]
    assert said == ["class"] * 3 + ["target"] * 5 + ["tenant"] * 2
    others = [about(name) for name in (b"x-slo-clas", b"x-gateway-inference-a", b"accept")]
    assert others == ["class", None, None]
