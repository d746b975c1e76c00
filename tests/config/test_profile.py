"""Latency profiles as files: what they may hold, and what a configuration makes of them."""

from pathlib import Path

import numpy as np
import pytest

from slosched import EngineLimits, LinearLatency, Request, Slo, TracedRequest
from slosched.config.load import load
from slosched.config.profile import load_profile, shipped
from slosched.config.schema import dump
from slosched.core.detailed_latency import DetailedLatency
from slosched.core.errors import ConfigError
from slosched.whatif.alone import times_alone

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


DETAIL = (
    "detail: {base_ms: 50, per_prefill_token_ms: 1.4, prompt_step_ms: 9,\n"
    "  per_context_token_ms: 0.004, sequences_ms: {1: 2, 4: 5, 8: 20}, overhead_ms: 3}\n"
)


def test_simulations_go_by_the_detail_and_plans_by_the_line(tmp_path: Path, profile: Path) -> None:
    settings = load(config(tmp_path, f"{{profile: {profile}}}"))
    assert settings.steps() == settings.latency()
    assert settings.engine_options().overhead == 0.005
    with profile.open("a", encoding="utf-8") as file:
        file.write(DETAIL)
    settings = load(config(tmp_path, f"{{profile: {profile}}}"))
    assert settings.latency() == LinearLatency(0.06, 0.0015, 0.002, 4e-6)
    assert settings.engine_options().overhead == 0.003
    stairs = ((1, 0.002), (4, 0.005), (8, 0.02))
    assert settings.steps() == DetailedLatency(0.05, 0.0014, 4e-6, 0.009, stairs)


def test_one_request_takes_what_the_detail_says(tmp_path: Path, profile: Path) -> None:
    with profile.open("a", encoding="utf-8") as file:
        file.write(DETAIL)
    settings = load(config(tmp_path, f"{{profile: {profile}, async_scheduling: false}}"))
    request = Request("a", 0.0, 300, Slo(e2e=60.0), "any")
    records = settings.simulated_engine().run([TracedRequest(request, 21)])
    prompt, answer = 2 * 0.059 + 300 * 0.0014, 20 * 0.052 + 4e-6 * sum(range(300, 320))
    assert records.first_token[0] == pytest.approx(0.003 + prompt)
    assert records.finish[0] == pytest.approx(0.003 + prompt + answer)
    alone = times_alone([TracedRequest(request, 21)], settings)
    assert np.array(alone).ravel() == pytest.approx([records.first_token[0], records.finish[0]])


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("step_ms: 9", "step_ms: -9", "detail.prompt_step_ms: must be greater than or equal to 0"),
        ("4: 5,", "4: 50,", "detail: sequences must increase, and what they add must not fall"),
        ("4: 5,", "x: 5,", "detail.sequences_ms.x"),
        ("{1: 2, 4: 5, 8: 20}", "{}", "detail.sequences_ms: "),
    ],
)
def test_a_detail_that_cannot_be_is_an_error_at_its_place(
    profile: Path, old: str, new: str, complaint: str
) -> None:
    with profile.open("a", encoding="utf-8") as file:
        file.write(DETAIL.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load_profile(str(profile))
    assert str(caught.value).startswith(f"{profile}:")
    assert complaint in str(caught.value)


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
