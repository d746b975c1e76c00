"""Runs `slosched` with these arguments; tells on SIGUSR1 what its process holds.

A line of JSON on stdout, after a collection of garbage: bytes of memory, open files, asyncio's
tasks. For fuzz.py, which cannot count the tasks of another process otherwise.
"""

import asyncio
import gc
import json
import os
import signal

import psutil

from slosched.cli.main import app


def _tell(*_: object) -> None:
    gc.collect()
    process = psutil.Process()
    held = {
        "rss": process.memory_info().rss,
        "files": process.num_fds(),
        "tasks": len(asyncio.all_tasks()),
    }
    os.write(1, json.dumps(held).encode() + b"\n")


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _tell)
    app()
