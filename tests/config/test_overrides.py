"""Values put over those of a file: where their paths lead."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched.config.load import load
from slosched.config.overrides import from_option
from slosched.core.errors import ConfigError


@pytest.mark.parametrize(
    ("option", "path"),
    [
        ("policy.kind=fcfs", ("policy", "kind")),
        ('classes."v1.5".ttft_ms=5', ("classes", "v1.5", "ttft_ms")),
        ('"classes".a=5', ("classes", "a")),
        ('a"b".c=5', ('a"b"', "c")),
        ('a."b=5', ("a", '"b')),
    ],
)
def test_a_name_in_quotes_may_have_dots(option: str, path: tuple[str, ...]) -> None:
    assert from_option(option).path == path


@given(st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True))
def test_any_class_can_be_named(name: str) -> None:
    settings = load(None, [f'classes."{name}"={{ttft_ms: 5}}'])
    assert settings.classes[name].ttft_ms == 5


@pytest.mark.parametrize("path", ["", "a..b", ".a", "a.", '"".x'])
def test_an_empty_name_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match="a name in the path is empty"):
        load(None, [f"{path}=1"])
