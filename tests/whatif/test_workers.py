"""Simulations side by side: whatever the number of processes, the same comes out."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from slosched.core.errors import ConfigError, EngineError
from slosched.whatif.workers import Workers

Tick = Callable[[int], None]


def square(task: int, tick: Tick) -> int:
    tick(1)
    tick(task)
    return task * task


def fail(task: int, _: Tick) -> int:
    if task == 3:
        raise ConfigError("three is wrong")
    return task


def die(task: int, _: Tick) -> int:
    if task == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_task_is_done_once_and_its_progress_told(jobs: int) -> None:
    told: list[int] = []
    with Workers(jobs) as workers:
        assert workers.all(square, range(1, 6), told.append) == [1, 4, 9, 16, 25]
        assert sum(told) == 15
        assert workers.all(square, [7, 8]) == [49, 64]
        assert sorted(workers.as_done(square, [2, 3, 4])) == [(0, 4), (1, 9), (2, 16)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_is_the_tasks_own(jobs: int) -> None:
    with pytest.raises(ConfigError, match="three is wrong"), Workers(jobs) as workers:
        workers.all(fail, range(6))


def test_a_process_that_dies_is_an_error_that_says_so() -> None:
    before = set(psutil.Process().children())
    with pytest.raises(EngineError, match="try fewer --jobs"), Workers(2) as workers:
        workers.all(die, range(4))
    _gone(set(psutil.Process().children()) - before)


SLEEPERS = """
import os, time
from slosched.whatif.workers import Workers
def sleep(task, tick):
    os.write(1, b"%d\\n" % task)  # whole, beside that of others
    time.sleep(60 if task else 0)
    return task
if __name__ == "__main__":
    try:
        with Workers(2) as workers:
            for i, _ in workers.as_done(sleep, range(3)):
                print("done", i, flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


@pytest.fixture
def sleepers(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process group of its own, with two workers that sleep."""
    script = tmp_path / "sleepers.py"
    script.write_text(SLEEPERS, encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as parent:  # fmt: skip
        yield parent
        with suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_one_that_asked(
    sleepers: "subprocess.Popen[str]", ending: signal.Signals
) -> None:
    """Ctrl-C reaches the whole group; SIGKILL only the parent."""
    assert sleepers.stdout is not None
    lines = sorted(sleepers.stdout.readline().strip() for _ in range(4))
    assert lines == ["0", "1", "2", "done 0"]
    children = set(psutil.Process(sleepers.pid).children(recursive=True))
    if ending == signal.SIGINT:
        os.killpg(sleepers.pid, ending)
        assert sleepers.communicate(timeout=60) == ("interrupted\n", "")
    else:
        sleepers.kill()
    _gone(children)


def _gone(processes: set[psutil.Process]) -> None:
    until = time.monotonic() + 60
    while any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes):
        assert time.monotonic() < until, "left behind"
        time.sleep(0.05)
