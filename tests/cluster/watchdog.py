"""Kills all processes that carry a mark in their environment, once its standard input ends.

Run as a program beside a test, so that nothing outlives a test runner that is killed: marks are
inherited, so what a pod's process has started dies too.
"""

import os
import sys

import psutil

MARK = "TEST_CLUSTER_MARK"


def sweep(mark: str) -> None:
    """Kill what carries the mark, until there is nothing more."""
    while found := [process for process in psutil.process_iter() if _carries(process, mark)]:
        for process in found:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(found, timeout=1.0)


def _carries(process: psutil.Process, mark: str) -> bool:
    try:
        return process.pid != os.getpid() and process.environ().get(MARK) == mark
    except psutil.Error:
        return False


if __name__ == "__main__":
    sys.stdin.read()
    sweep(sys.argv[1])
