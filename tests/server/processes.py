"""Which of the processes that a test has caused still live."""

import time
from pathlib import Path


def pids(file: Path) -> list[int]:
    """Read the ids that fake engines have written."""
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet reaped does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def wait_until_gone(file: Path, at_least: int = 1, hang_s: float = 60.0) -> None:
    """Wait until none is left of the processes in the file."""
    deadline = time.monotonic() + hang_s
    while any(alive(pid) for pid in pids(file)):
        assert time.monotonic() < deadline, f"orphans: {pids(file)}"
        time.sleep(0.05)
    assert len(pids(file)) >= at_least
