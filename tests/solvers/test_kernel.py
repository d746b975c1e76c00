"""Compiled kernels are kept where there is a place, and compiled anyway where there is none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from slosched_solvers.kernel import has_place


def test_a_place_that_is_named_is_made(tmp_path: Path) -> None:
    named = tmp_path / "a" / "b"
    assert has_place(tmp_path / "none", {"NUMBA_CACHE_DIR": str(named)})
    assert named.is_dir()


def test_a_place_that_cannot_be_made_is_none() -> None:
    assert not has_place(Path("/proc"), {"NUMBA_CACHE_DIR": "/proc/none"})


def test_beside_the_source_is_a_place(tmp_path: Path) -> None:
    assert has_place(tmp_path, {})


def test_somebody_without_a_home_has_none_there() -> None:
    """An image may be run by a user that it does not know."""
    program = (
        "import os, sys; from pathlib import Path; from slosched_solvers.kernel import has_place; "
        "os.environ.pop('HOME', None); os.setuid(23456); "
        "print(has_place(Path('/proc'), {}))"
    )
    if os.getuid() != 0:
        pytest.skip("only root can become somebody else")
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
