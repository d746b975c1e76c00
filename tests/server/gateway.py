"""`slosched gateway` as a process of its own, before engines that run already."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_URL = re.compile(rb"url=(\S+)")


@contextmanager
def gateway(log: Path, *flags: str) -> Iterator[str]:
    """Start it; gives its URL; its log goes to a file."""
    command = [sys.executable, "-m", "slosched", "gateway", "--port", "0", *flags]
    with log.open("wb") as out, subprocess.Popen(command, stderr=out) as process:
        try:
            while not (found := _URL.search(log.read_bytes())):
                assert process.poll() is None, log.read_text()
            yield found[1].decode()
        finally:
            process.terminate()
