"""What predictors read of vLLM's requests, and what the request log keeps."""

from pathlib import Path

import numpy as np
import orjson
import pytest
from vllm.v1.request import RequestStatus

from slosched.config.request_log import RequestLogSettings
from slosched.core.errors import ConfigError
from slosched.policies.fcfs import Fcfs
from slosched.traces import read
from slosched.vllm.request_log import RequestLog
from tests.vllm.harness import Engine, Job, make_planner


@pytest.mark.parametrize("depth", [1, 2])
def test_what_is_read_is_what_was_said_by_then(tiny_model: Path, depth: int) -> None:
    """Under asynchronous scheduling too, where tokens are scheduled that nobody has said yet."""
    engine = Engine(tiny_model, make_planner(Fcfs()), depth=depth)
    engine.add(Job("one", 10, 30), Job("two", 12, 8))
    table, seen = engine.planner.table, []
    while engine.scheduler.has_requests():
        engine.step()
        for name, request in engine.scheduler.requests.items():
            transcript = table.request(table.row(name)).transcript
            assert transcript is not None
            said = transcript.read(10**6)
            if said is None:
                continue
            assert said.produced == request.num_output_tokens
            ids = list(request.output_token_ids)
            decoder = engine.scheduler._decoder
            assert said.answer == (decoder.text(ids) if ids else "")
            assert said.prompt == decoder.text(request.prompt_token_ids).strip()
            seen.append(said.produced)
    assert max(seen) >= 28


CHAT = "<s>system\nBe kind.</s>\n<s>user\nWho?</s>\n<s>assistant\nMe.</s>\n"


@pytest.mark.parametrize(
    ("prompt", "asked"),
    [
        (CHAT + "<s>user\nAnd why?</s>\n<s>assistant\n", "And why?"),
        (CHAT + "<s>user\n\nuser</s>\n<s>assistant\n\n", "user"),
        ("<s>Two lines\nof text", "Two lines\nof text"),
        ("no marks at all", "no marks at all"),
        ("<s></s>", ""),
        ("", ""),
    ],
)
def test_of_a_chat_the_last_message_is_what_is_asked(
    tiny_model: Path, prompt: str, asked: str
) -> None:
    engine = Engine(tiny_model, make_planner(Fcfs()))
    decoder = engine.scheduler._decoder
    assert decoder.last_message(decoder._tokenizer.encode(prompt)) == asked


def log_of(path: Path, **settings: object) -> RequestLog:
    return RequestLog(RequestLogSettings(path=path, **settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("texts", [False, True])
def test_finished_requests_are_logged_as_a_trace(
    tiny_model: Path, tmp_path: Path, texts: bool
) -> None:
    path = tmp_path / "requests.jsonl"
    engine = Engine(tiny_model, make_planner(Fcfs()))
    engine.scheduler._request_log = log_of(path, texts=texts)
    engine.add(Job("one", 10, 9), Job("two", 12, 5), Job("three", 12, 500))
    for _ in range(30):
        engine.step()
    engine.scheduler.finish_requests("three", RequestStatus.FINISHED_ABORTED)
    engine.scheduler.shutdown()
    records = sorted(read(path, ordered=False), key=lambda record: record.request_id)
    assert [(r.request_id, r.input_tokens, r.output_tokens, r.max_tokens) for r in records] == [
        ("one", 10, 9, 100),
        ("two", 12, 5, 100),
    ]
    assert all((r.prompt is not None) == (r.answer is not None) == texts for r in records)
    assert path.stat().st_mode & 0o077 == 0, "users' texts are nobody else's business"


def test_the_log_stays_within_its_bounds(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    log = log_of(path, max_mb=0.004, files=2)
    engine = Engine(tiny_model, make_planner(Fcfs()))
    engine.scheduler._request_log = log
    for i in range(60):
        engine.add(Job(f"r{i}", 10, 2))
        engine.run()
    log.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["requests.jsonl", "requests.jsonl.1"]
    assert sum(file.stat().st_size for file in files) <= 4000
    newest = (tmp_path / "requests.jsonl").read_text().splitlines()[-1]
    assert orjson.loads(newest)["request_id"] == "r59"


def test_a_log_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"request_log.path: .*No such file or directory"):
        log_of(tmp_path / "no" / "requests.jsonl")


def test_a_log_that_cannot_keep_up_loses_lines_and_not_time(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slosched.vllm.request_log._WAITING", 3)
    log = log_of(tmp_path / "requests.jsonl")
    log._queue.put(None)
    log._thread.join()
    engine = Engine(tiny_model, make_planner(Fcfs()))
    engine.scheduler._request_log = log
    for i in range(5):
        engine.add(Job(f"r{i}", 10, 2))
        engine.run()
    assert log.lost == 2
    assert engine.scheduler._shield.failures == 0
    assert np.isfinite(log.lost)


def test_a_disk_that_is_full_loses_lines_and_says_so_once(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(
        "slosched.vllm.request_log.log.warning", lambda text, *args: said.append(text % args)
    )
    log = log_of(tmp_path / "requests.jsonl")
    log._file.stream.close()  # type: ignore[union-attr]
    log._file.stream = Path("/dev/full").open("w")  # noqa: SIM115
    engine = Engine(tiny_model, make_planner(Fcfs()))
    engine.scheduler._request_log = log
    engine.add(*(Job(f"r{i}", 10, 2) for i in range(3)))
    engine.run()
    log.close()
    assert log.lost == 3
    assert len(said) == 1
    assert "No space left on device" in said[0]
    assert sorted(engine.finished) == ["r0", "r1", "r2"]
    assert engine.scheduler._shield.failures == 0
