"""Progress without a terminal: a line for whatever begins, and for each tenth of it."""

import pytest

from slosched.cli.progress import bar


def test_a_line_for_each_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    with bar("first", quiet=False, lines=True) as shown:
        shown.begin("some work", 20)
        for _ in range(20):
            shown.tick(1)
        shown.begin("more", 3)
        shown.tick(3)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "some work (20)", *(f"some work: {done} of 20" for done in range(2, 20, 2)), "more (3)",
    ]  # fmt: skip


@pytest.mark.parametrize(("quiet", "lines"), [(True, True), (False, False)])
def test_nothing_where_nobody_asked(
    capsys: pytest.CaptureFixture[str], quiet: bool, lines: bool
) -> None:
    with bar("first", quiet=quiet, lines=lines) as shown:
        shown.begin("some work", 2)
        shown.tick(1)
    assert not capsys.readouterr().err
