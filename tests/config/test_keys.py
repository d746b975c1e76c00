"""The section `access` and the file of keys: what fits, and errors that repeat no key."""

from functools import partial
from pathlib import Path

import pytest

from slosched.config.access import AccessSettings
from slosched.config.keys import read_keys, written
from slosched.config.live import LiveConfig
from slosched.config.load import load
from slosched.core.errors import ConfigError
from slosched_server.fleet import Fleet
from slosched_server.http_upstream import HttpUpstream
from slosched_server.keys import digest_of, new_key

KEY = new_key()
HASH = written(digest_of(KEY.encode()))
OTHER = written(digest_of(b"another"))
CLASSES = ("interactive", "batch")


def keys_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "keys.yaml"
    path.write_text(f"keys:\n{text}")
    return path


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- {name: a b, hash: H}", "keys.0.name: must match pattern"),
        ("- {name: a}", "keys.0.hash: missing"),
        ("- {name: a, hash: H, clases: [batch]}", "unknown field, did you mean class"),
        ("- {name: a, hash: H, classes: [btch]}", "unknown class 'btch', did you mean batch?"),
        ("- {name: a, hash: H, classes: []}", "keys.0.classes: "),
        ("- {name: a, hash: H, class: gold}", "unknown class 'gold'"),
        ("- {name: a, hash: H, classes: [batch], class: interactive}", "keys.0.class: "),
        ("- {name: a, hash: H, weight: 0}", "keys.0.weight: must be greater than 0"),
        ("- {name: a, hash: H, requests_per_minute: 0}", "requests_per_minute: must be greater"),
        ("- {name: a, hash: H, burst: 3}", "keys.0.burst: goes with requests_per_minute"),
        ("- {name: a, hash: H}\n- {name: a, hash: O}", "keys.1.name: two keys are called 'a'"),
        ("- {name: a, hash: H}\n- {name: b, hash: H}", "keys.1.hash: another key has the same"),
        (
            "- {name: a, hash: H, weight: 2}\n- {name: b, hash: O, tenant: a, weight: 3}",
            "keys.1.weight: another key gives 'a' another one",
        ),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(tmp_path: Path, text: str, problem: str) -> None:
    path = keys_file(
        tmp_path, text.replace("hash: H", f"hash: {HASH}").replace(": O", f": {OTHER}")
    )
    with pytest.raises(ConfigError) as caught:
        read_keys(path, CLASSES)
    assert problem in str(caught.value)
    assert str(caught.value).startswith(f"{path}:")


@pytest.mark.parametrize(
    "text", ["{name: a, hash: K}", "{name: a, key: K}", "{name: a, hash: [K]}"]
)
def test_a_key_that_stands_in_the_file_by_mistake_is_not_repeated(
    tmp_path: Path, text: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read_keys(keys_file(tmp_path, "- " + text.replace("K", KEY)), CLASSES)
    assert KEY not in str(caught.value)


def test_a_file_that_is_just_being_written_takes_nobody_his_key(tmp_path: Path) -> None:
    path = keys_file(tmp_path, "")
    for text in ("", "keys:"):
        path.write_text(text)
        with pytest.raises(ConfigError, match="keys: "):
            read_keys(path, CLASSES)


def test_who_could_give_himself_a_key_is_shut_out(tmp_path: Path) -> None:
    path = keys_file(tmp_path, "- {name: a, hash: " + HASH + "}")
    path.chmod(0o666)
    with pytest.raises(ConfigError, match="chmod o-w"):
        read_keys(path, CLASSES)
    path.chmod(0o644)
    assert [key.name for key in read_keys(path, CLASSES).keys] == ["a"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_strangers_are_served_only_if_that_is_said(host: str) -> None:
    with pytest.raises(ConfigError, match=r"access.keys.*access.open: true"):
        AccessSettings().check_exposure(host)
    AccessSettings(open=True).check_exposure(host)
    AccessSettings(keys=Path("keys.yaml")).check_exposure(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_alone_needs_no_keys(host: str) -> None:
    AccessSettings().check_exposure(host)


def test_the_host_of_the_command_line_counts(tmp_path: Path) -> None:
    config = tmp_path / "slosched.yaml"
    config.write_text("classes: {any: {e2e_ms: 1}}\nserver: {host: 0.0.0.0}")
    LiveConfig(config, (), queue=False, host="127.0.0.1").read()
    with pytest.raises(ConfigError, match=r"host: 0"):
        LiveConfig(config, (), queue=False).read()


def test_shares_of_tenants_are_those_of_their_keys(tmp_path: Path) -> None:
    """What the configuration says itself wins."""
    path = keys_file(
        tmp_path,
        f"- {{name: a, hash: {HASH}, weight: 3}}\n"
        f"- {{name: b, hash: {OTHER}, weight: 2, tenant: t}}\n",
    )
    config = tmp_path / "slosched.yaml"
    config.write_text(
        "classes: {any: {e2e_ms: 1}}\n"
        f"access: {{keys: {path.name}}}\n"
        "fleet: {replicas: [{url: http://127.0.0.1:1}], fairness: {weights: {t: 5}}}"
    )
    live = LiveConfig(config, (), queue=True)
    fleet = live.read().fleet
    assert fleet is not None
    assert fleet.fairness.weights == {"a": 3, "t": 5}
    assert live.files == [config, path]


@pytest.mark.parametrize("value", ["", "two\nlines", "kéy"])
def test_the_engines_key_must_be_there(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_KEY", value)
    with pytest.raises(ConfigError, match="ENGINE_KEY must hold") as caught:
        LiveConfig(None, ["access.engine_key_env=ENGINE_KEY"], queue=False).read()
    assert not value or value not in str(caught.value)


def test_shares_count_from_the_first_request_on(tmp_path: Path) -> None:
    path = keys_file(tmp_path, f"- {{name: a, hash: {HASH}, weight: 3}}")
    overrides = [f"access.keys={path}", "fleet.replicas=[{url: http://127.0.0.1:1}]"]
    fleet = LiveConfig(None, overrides, queue=True).read().fleet
    assert fleet is not None
    dispatcher = load(None, overrides).dispatcher()
    Fleet(dispatcher, fleet, partial(HttpUpstream, connect_timeout_s=1.0))
    assert dispatcher._counters.fairness.weights == {"a": 3}
