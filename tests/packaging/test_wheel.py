"""What users install holds everything, and under names that nobody shadows."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import slosched

ROOT = Path(slosched.__file__).parents[1]


def test_the_wheel_holds_the_three_packages_and_their_data(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("slosched-*.whl")
    names = set(ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in names if "dist-info" not in name} == {
        "slosched", "slosched_solvers", "slosched_server",
    }  # fmt: skip
    assert {
        "slosched/config/default.yaml",
        "slosched/config/profiles/h100-llama2-70b-tp8.yaml",
        "slosched/py.typed",
        "slosched/report/templates/comparison.html",
        "slosched/report/templates/plan.html",
        "slosched/report/templates/style.css",
        "slosched_solvers/py.typed",
        "slosched_server/dashboard/static/app.js",
        "slosched_server/dashboard/static/page.html",
        "slosched_server/py.typed",
    } <= names


def test_the_public_names_are_the_promised_ones() -> None:
    assert sorted(slosched.__all__) == slosched.__all__
    for name in slosched.__all__:
        assert hasattr(slosched, name)
