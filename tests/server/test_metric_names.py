"""What docs/metrics.md says is exported, is; and what is exported, it says."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.server.exported import Names, of_the_front_end, of_the_scheduler

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(slosched_\w+)` \| (\w+) \|(.*?)\| .+ \|$", re.MULTILINE)


def documented(whose: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Type and labels of each metric in the sections whose headings begin so."""
    sections = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    rows = [
        row for section in sections if section.startswith(whose) for row in ROW.findall(section)
    ]
    return {name: (kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


@pytest.mark.parametrize(
    ("whose", "exported"),
    [("The front end", of_the_front_end), ("The scheduler", of_the_scheduler)],
    ids=["front end", "scheduler"],
)
def test_the_page_and_the_program_have_the_same_metrics(
    whose: str, exported: Callable[[], Names]
) -> None:
    there = {name: of for name, of in exported().items() if name.startswith("slosched_")}
    said = documented(whose)
    assert said.keys() == there.keys()
    for name, (kind, labels) in said.items():
        assert kind == there[name].kind, name
        assert there[name].labels in (labels, None), name  # None of what never happened yet
