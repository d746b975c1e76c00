"""Simulations side by side: whatever the number of processes, the same comes out."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

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
import sys, time
from slosched.whatif.workers import Workers
def sleep(task, tick):
    print(task, flush=True)
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


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_one_that_asked(ending: signal.Signals, tmp_path: object) -> None:
    """Ctrl-C reaches the whole group; SIGKILL only the parent."""
    script = f"{tmp_path}/sleepers.py"
    with open(script, "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(SLEEPERS)
    parent = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert parent.stdout is not None
    lines = sorted(parent.stdout.readline().strip() for _ in range(4))
    assert lines == ["0", "1", "2", "done 0"]
    children = set(psutil.Process(parent.pid).children(recursive=True))
    if ending == signal.SIGINT:
        os.killpg(parent.pid, ending)
        out, err = parent.communicate(timeout=60)
        assert (out, err) == ("interrupted\n", "")
    else:
        parent.kill()
        parent.communicate(timeout=60)
    _gone(children)


def _gone(processes: set[psutil.Process]) -> None:
    until = time.monotonic() + 60
    while any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes):
        assert time.monotonic() < until, "left behind"
        time.sleep(0.05)
