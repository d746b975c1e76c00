"""Keys as an operator has them: programs that serve, and never write a key down."""

import os
import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

from slosched.cli.main import app
from tests.server.guarded import Files
from tests.server.test_serve import HANG_S, Program, serving

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def ask(url: str, key: str, path: str = "/v1/completions", data: bytes | None = b"{}") -> int:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    request = urllib.request.Request(f"{url}{path}", data, headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=HANG_S) as answer:  # noqa: S310
            answer.read()
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize("front", ["serve", "gateway"])
def test_no_key_is_ever_written_down(tmp_path: Path, front: str) -> None:
    files, pids = Files(tmp_path), tmp_path / "pids"
    key, typo = files.give("chat"), "slosched-" + "x" * 43
    config = ["--config", str(files.config), "-v"]
    own = config if front == "serve" else []
    with serving(pids, *own, manner="") as engine:
        url = engine.wait_for(rf"listening.*{'url' if front == 'serve' else 'engine'}=(\S+)")
        engine.wait_for("engine ready")
        program = engine
        if front == "gateway":
            program = Program([front, "--port", "0", "--upstream", url, *config], {})
            url = program.wait_for(r"listening.*url=(\S+)")
        with program:
            assert ask(url, key) == 200
            assert ask(url, typo) == 401
            assert ask(url, key, "/slosched/config", None) == 403
            files.give("other", classes=["gold"])
            program.wait_for("configuration not reloaded")
            program.signal(signal.SIGTERM)
            assert program.end() == 0
            said = "".join(program.lines)
            assert "POST /v1/completions" in said
            assert key not in said
            assert typo not in said


def test_a_key_that_is_given_while_it_serves_opens_at_once(tmp_path: Path) -> None:
    files = Files(tmp_path)
    with serving(tmp_path / "pids", "--config", str(files.config), manner="") as program:
        url = program.wait_for(r"listening.*url=(\S+)")
        program.wait_for("engine ready")
        (tmp_path / "keys.yaml").chmod(0o600)
        words = ["keys", "add", "chat", "--config", str(files.config)]
        key = CliRunner().invoke(app, words).stdout.strip()
        program.wait_for("configuration reloaded")
        assert ask(url, key) == 200
        assert CliRunner().invoke(app, ["keys", "remove", "chat", *words[3:]]).exit_code == 0
        program.wait_for("configuration reloaded")
        assert ask(url, key) == 401
        os.kill(program.process.pid, signal.SIGTERM)
        assert program.end() == 0


def test_with_keys_strangers_may_reach_it(tmp_path: Path) -> None:
    files = Files(tmp_path)
    key = files.give("chat")
    config = ["--config", str(files.config), "--host", "0.0.0.0"]
    with serving(tmp_path / "pids", *config, manner="") as program:
        url = program.wait_for(r"listening.*url=(\S+)").replace("0.0.0.0", "127.0.0.1")
        program.wait_for("engine ready")
        assert (ask(url, key), ask(url, "none")) == (200, 401)
        program.signal(signal.SIGTERM)
        assert program.end() == 0
