"""`slosched keys`: what it writes, what it prints, and what it refuses."""

import json
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from slosched.cli.main import app
from slosched.config.keys import read_keys
from slosched_server.keys import digest_of

CONFIG = "classes: {interactive: {ttft_ms: 1}, batch: {e2e_ms: 1}}\naccess: {keys: keys.yaml}\n"


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["keys", *map(str, words)])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "slosched.yaml"
    path.write_text(CONFIG)
    return path


def test_a_key_is_shown_once_and_only_its_digest_is_kept(file: Path) -> None:
    words = ["--class", "batch", "--tenant", "t", "--weight", 2, "--requests-per-minute", 9]
    added = run("add", "night", *words, "--burst", 3, "--admin", "--file", file)
    assert added.exit_code == 0, added.output
    key = added.stdout.strip()
    assert key.startswith("slosched-")
    assert key not in file.read_text()
    assert key not in added.stderr
    (kept,) = read_keys(file, ["batch"]).keys
    assert kept.digest == digest_of(key.encode())
    assert (kept.name, kept.classes, kept.tenant, kept.weight) == ("night", ["batch"], "t", 2)
    assert (kept.requests_per_minute, kept.burst, kept.admin) == (9, 3, True)
    assert file.stat().st_mode & 0o777 == 0o600
    assert sorted(file.parent.iterdir()) == [file]


def test_what_is_listed_and_removed(file: Path) -> None:
    for name in ("one", "two"):
        run("add", name, "--file", file)
    assert run("remove", "one", "--file", file).exit_code == 0
    listed = json.loads(run("list", "--file", file, "--format", "json").stdout)
    assert [key["name"] for key in listed["keys"]] == ["two"]
    assert "hash" not in listed["keys"][0]
    assert "two" in run("list", "--file", file).stdout


def test_the_configuration_names_the_file_and_knows_the_classes(file: Path, config: Path) -> None:
    wrong = run("add", "a", "--class", "bach", "--config", config)
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "--class: unknown class 'bach', did you mean batch?" in wrong.stderr
    assert run("add", "a", "--class", "batch", "--config", config).exit_code == 0
    assert file.exists()
    checked = CliRunner().invoke(app, ["config", "check", str(config)])
    assert checked.exit_code == 0
    file.write_text(file.read_text().replace("batch", "gone"))
    assert CliRunner().invoke(app, ["config", "check", str(config)]).exit_code == 2


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["add", "one"], "NAME: there is a key 'one' already"),
        (["add", "a b"], "keys add: name: must match pattern"),
        (["add", "a", "--weight", "0"], "weight: must be greater than 0"),
        (["add", "a", "--burst", "0"], "Invalid value for '--burst'"),
        (["add", "a", "--burst", "2"], "burst: goes with requests_per_minute"),
        (["remove", "on"], "NAME: there is no key 'on', did you mean one?"),
    ],
)
def test_what_cannot_be_leaves_the_file_as_it_is(
    file: Path, words: list[str], problem: str
) -> None:
    run("add", "one", "--file", file)
    before = file.read_text()
    got = run(*words, "--file", file)
    assert (got.exit_code, got.stdout) == (2, "")
    assert problem in got.stderr
    assert file.read_text() == before


def test_without_a_file_it_says_what_is_missing(tmp_path: Path) -> None:
    assert "--file: name a file" in run("list").stderr
    assert "No such file" in run("list", "--file", tmp_path / "none").stderr
    assert "No such file" in run("add", "a", "--file", tmp_path / "no" / "keys").stderr


def test_a_file_that_everybody_may_read_is_not_written(file: Path) -> None:
    run("add", "one", "--file", file)
    file.chmod(0o644)
    got = run("add", "two", "--file", file)
    assert got.exit_code == 2
    assert "chmod o=" in got.stderr
    file.chmod(0o640)
    assert run("add", "two", "--file", file).exit_code == 0
    assert file.stat().st_mode & 0o777 == 0o640


def test_commands_at_the_same_time_lose_no_key(file: Path) -> None:
    names = [f"k{i}" for i in range(8)]
    from slosched.config.key_store import KeyStore

    def add(name: str) -> None:
        with KeyStore(file).change() as entries:
            entries.append({"name": name, "hash": "sha256:" + digest_of(name.encode()).hex()})

    threads = [threading.Thread(target=add, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert {key.name for key in KeyStore(file).read().keys} == {*names}
