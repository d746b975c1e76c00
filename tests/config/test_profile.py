"""Latency profiles as files: what they may hold, and what a configuration makes of them."""

from pathlib import Path

import pytest

from slosched import EngineLimits
from slosched.config.load import load
from slosched.config.profile import load_profile, shipped
from slosched.config.schema import dump
from slosched.core.errors import ConfigError

TIMES = """\
base_ms: 60
per_prefill_token_ms: 1.5
per_sequence_ms: 2
per_context_token_ms: 0.004
"""
ENGINE = (
    "engine: {max_num_seqs: 8, max_num_batched_tokens: 256, block_size: 32, max_model_len: 2048}\n"
)


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "profile.yaml"
    path.write_text(TIMES + ENGINE + "overhead_ms: 5\n", encoding="utf-8")
    return path


def config(folder: Path, engine: str) -> Path:
    path = folder / "slosched.yaml"
    path.write_text(f"classes: {{any: {{e2e_ms: 1000}}}}\nengine: {engine}\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("name", shipped())
def test_shipped_profiles_load(name: str) -> None:
    found = load_profile(name)
    assert found.latency().base > 0
    assert found.source
    assert found.error


def test_limits_of_the_profile_hold_where_the_configuration_sets_none(
    tmp_path: Path, profile: Path
) -> None:
    """Four blocks of cache are not in the profile: the default holds."""
    found = load(config(tmp_path, f"{{profile: {profile}}}"))
    assert found.limits() == EngineLimits(8, 256, 32, 50_000)
    assert dump(found)["engine"]["max_num_seqs"] == 8


def test_the_configuration_wins_over_the_profile(tmp_path: Path, profile: Path) -> None:
    path = config(tmp_path, f"{{profile: {profile}, max_num_seqs: 4}}")
    assert load(path).limits() == EngineLimits(4, 256, 32, 50_000)
    assert load(path, ["engine.max_num_seqs=2"]).limits().max_num_seqs == 2
    assert load(path, ["engine.block_size=16"]).limits() == EngineLimits(4, 256, 16, 50_000)


def test_an_override_can_name_the_profile(profile: Path) -> None:
    assert load(None, [f"engine.profile={profile}"]).limits().max_num_seqs == 8
    assert load(None).limits() == EngineLimits()


def test_limits_that_do_not_go_together_are_an_error(tmp_path: Path, profile: Path) -> None:
    path = config(tmp_path, f"{{profile: {profile}, max_num_seqs: 300}}")
    with pytest.raises(ConfigError, match="max_num_batched_tokens") as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}:2:")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (
            "1.5",
            "-1.5",
            ":2:23: per_prefill_token_ms: must be greater than or equal to 0, got -1.5",
        ),
        ("ken_ms: 0.004", "ken_ms: -1", ":4:23: per_context_token_ms: must be greater than or"),
        ("base_ms: 60", "base_ms: 0", ":1:10: base_ms: must be greater than 0, got 0"),
        ("_ms: 2\n", "_ms: .inf\n", ":3:18: per_sequence_ms: must be a finite number"),
        ("_ms: 2\n", "_ms: .nan\n", ":3:18: per_sequence_ms: must be"),
        ("overhead_ms: 5", "overhead_ms: -5", ":6:14: overhead_ms: must be greater than or equal"),
        ("overhead_ms", "overhead", ":6:1: overhead: unknown field, did you mean overhead_ms?"),
        ("max_num_seqs: 8", "max_num_seqs: 0", ":5:24: engine.max_num_seqs: must be greater than"),
        ("max_num_seqs", "max_seqs", ":5:10: engine.max_seqs: unknown field, did you mean"),
    ],
)
def test_what_no_engine_can_be_like_is_an_error_at_its_place(
    profile: Path, old: str, new: str, complaint: str
) -> None:
    text = profile.read_text(encoding="utf-8")
    assert text.count(old) == 1
    profile.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_profile(str(profile))
    assert str(caught.value).startswith(f"{profile}{complaint}")


def test_a_broken_profile_is_told_by_who_reads_its_times(tmp_path: Path, profile: Path) -> None:
    profile.write_text(TIMES.replace("60", "-60"), encoding="utf-8")
    found = load(config(tmp_path, f"{{profile: {profile}}}"))
    assert found.limits() == EngineLimits()
    with pytest.raises(ConfigError, match="base_ms: must be greater than 0"):
        found.latency()
