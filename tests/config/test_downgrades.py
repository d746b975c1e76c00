"""Classes that are served as other ones under overload: that has to end somewhere."""

import pytest

from slosched.config.load import load
from slosched.core.errors import ConfigError


def test_the_class_that_stands_in_comes_with_its_limits() -> None:
    settings = load(
        None,
        [
            "classes.interactive.overload=downgrade",
            "classes.interactive.downgrade_to=batch",
            "classes.completion.overload=reject",
        ],
    )
    overload = settings.overload()
    assert overload.downgrades["interactive"].slo.e2e == 30.0
    assert overload.rejects == {"completion"}
    assert overload.guards("interactive")
    assert overload.guards("completion")
    assert not overload.guards("batch")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["interactive.overload=downgrade"], "classes.interactive: downgrade_to: goes with"),
        (["interactive.downgrade_to=batch"], "classes.interactive.downgrade_to: goes with"),
        (
            ["interactive={ttft_ms: 1, overload: downgrade, downgrade_to: nobody}"],
            "classes.interactive.downgrade_to: no class 'nobody'",
        ),
        (
            [
                "interactive={ttft_ms: 1, overload: downgrade, downgrade_to: batch}",
                "batch={e2e_ms: 1, overload: downgrade, downgrade_to: interactive}",
            ],
            "classes.interactive.downgrade_to: leads back to 'interactive'",
        ),
    ],
)
def test_downgrades_that_lead_nowhere_are_refused(overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(None, [f"classes.{override}" for override in overrides])
