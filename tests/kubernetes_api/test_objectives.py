"""Class objects as SLO classes, between the file and edits."""

import asyncio
from pathlib import Path

import pytest
import structlog

from slosched.config.live import LiveConfig
from slosched.core.errors import ConfigError
from slosched_server.control import Control
from slosched_server.kubernetes.kinds import OBJECTIVES, POOLS
from slosched_server.kubernetes.objectives import Objectives
from tests.kubernetes_api.discovering import YAML, discovering, fake
from tests.kubernetes_api.objects import POOL, Json, objective, pool, until

CHAT = {"ttft_ms": 1000.0, "tpot_ms": 100.0, "weight": 2.0}
DEFAULTS = {"service_tier": None, "overload": "accept", "downgrade_to": None}


class Laid:
    """A file, objects over it, and edits over these."""

    def __init__(self, folder: Path, *items: Json) -> None:
        self.file = folder / "slosched.yaml"
        self.file.write_text(YAML)
        self.control = Control(LiveConfig(self.file, [], queue=True, discovers=True))
        self.objectives = Objectives(POOL)
        self.put(*items)

    def put(self, *items: Json) -> list[str]:
        """Put objects in place of those before; return what was said of them."""
        with structlog.testing.capture_logs() as logs:
            if self.objectives.replace(items):
                self.control.lay(self.objectives)
        return [f"{log.get('objective', '')}: {log['reason']}" for log in logs]

    def of(self, name: str) -> Json | None:
        """Return a class, without what is as it is by default."""
        found = self.control.in_force.rules.shown["classes"].get(name)
        usual = {**DEFAULTS, "weight": 1.0}
        return found and {k: v for k, v in found.items() if k not in usual or v != usual[k]}


def test_limits_that_an_object_says_are_all_that_its_class_has(tmp_path: Path) -> None:
    laid = Laid(tmp_path, objective("chat", e2e_ms=500), objective("new", ttft_ms=7, weight=3))
    assert laid.of("chat") == {"e2e_ms": 500.0, "weight": 2.0}
    assert laid.of("new") == {"ttft_ms": 7.0, "weight": 3.0}


def test_an_object_without_limits_is_the_files_class_or_as_the_default_class(
    tmp_path: Path,
) -> None:
    laid = Laid(tmp_path, objective("batch"), objective("new"))
    assert laid.of("batch") == {"e2e_ms": 30000.0, "service_tier": "flex"}
    assert laid.of("new") == {"ttft_ms": 1000.0, "tpot_ms": 100.0}


def test_below_zero_is_refused_rather_than_late(tmp_path: Path) -> None:
    accepted = objective("three", -1, overload="accept")
    laid = Laid(tmp_path, objective("one", -1), objective("two", 0), accepted)
    assert [(laid.of(name) or {}).get("overload") for name in ("one", "two", "three")] == [
        "reject",
        None,
        None,
    ]
    assert not laid.put(objective("one", overload="downgrade", downgrade_to="batch"))
    assert (laid.of("one") or {})["downgrade_to"] == "batch"


def test_without_the_object_the_files_class_is_back(tmp_path: Path) -> None:
    laid = Laid(tmp_path, objective("chat", e2e_ms=500), objective("new", ttft_ms=7))
    laid.put()
    assert laid.of("chat") == CHAT
    assert laid.of("new") is None


def test_an_object_that_does_not_fit_is_named_and_spoils_nothing(tmp_path: Path) -> None:
    laid = Laid(tmp_path, objective("chat", e2e_ms=500))
    bad = [
        objective("typo", ttf_ms=5),
        objective("nonsense", ttft_ms="soon"),
        objective("low", ttft_ms=-1),
        objective("nowhere", overload="downgrade", downgrade_to="no-such"),
        objective("x" * 65, ttft_ms=5),
        objective("tier", service_tier="flex"),
    ]
    said = laid.put(*bad, objective("chat", e2e_ms=400), objective("new", ttft_ms=7))
    assert len(said) == len(bad)
    named = dict(line.split(": ", 1) for line in said)
    assert "did you mean ttft_ms?" in named["typo"]
    assert "ttft_ms" in named["nonsense"]
    assert laid.of("chat") == {"e2e_ms": 400.0, "weight": 2.0}
    assert laid.of("new") == {"ttft_ms": 7.0}
    # Said once, until it is another.
    assert not laid.put(*bad, objective("chat", e2e_ms=300))
    assert len(laid.put(objective("typo", ttf_ms=6), objective("low", ttft_ms=-2))) == 1


def test_objects_of_other_pools_are_not_ours(tmp_path: Path) -> None:
    laid = Laid(tmp_path, objective("chat", of="other", e2e_ms=5), {"metadata": {"name": "x"}})
    assert laid.of("chat") == CHAT


def test_a_name_with_dots(tmp_path: Path) -> None:
    laid = Laid(tmp_path, objective("v1.5.chat", ttft_ms=5))
    assert laid.of("v1.5.chat") == {"ttft_ms": 5.0}
    laid.control.edit(['classes."v1.5.chat".ttft_ms=6'])
    assert laid.of("v1.5.chat") == {"ttft_ms": 6.0}


def test_edits_lie_over_objects_and_stay_while_these_change(tmp_path: Path) -> None:
    laid = Laid(tmp_path, objective("chat", ttft_ms=500))
    laid.control.edit(["classes.chat.ttft_ms=50"])
    laid.put(objective("chat", ttft_ms=600, e2e_ms=700))
    assert laid.of("chat") == {"ttft_ms": 50.0, "e2e_ms": 700.0, "weight": 2.0}
    with pytest.raises(ConfigError):
        laid.control.edit(["classes.chat.ttft_ms=-1"])
    laid.control.edit([])
    assert laid.of("chat") == {"ttft_ms": 600.0, "e2e_ms": 700.0, "weight": 2.0}
    assert laid.control.edits == ()


def test_the_file_changes_below_objects(tmp_path: Path) -> None:
    laid = Laid(tmp_path, objective("new"), objective("chat", priority=-1))
    laid.file.write_text(YAML.replace("1000", "2000"))
    assert laid.control.reload()
    assert (laid.of("new") or {})["ttft_ms"] == 2000.0
    assert laid.of("chat") == {**CHAT, "ttft_ms": 2000.0, "overload": "reject"}
    assert laid.control.reloads == {"applied": 1, "refused": 0}


def test_an_object_that_an_edit_is_about_goes(tmp_path: Path) -> None:
    """The edit does not fit without it: what was in force stays until the edit is taken back."""
    laid = Laid(tmp_path, objective("new", ttft_ms=7))
    laid.control.edit(["classes.new.weight=3"])
    (said,) = laid.put()
    assert "classes.new" in said
    assert laid.of("new") == {"ttft_ms": 7.0, "weight": 3.0}
    laid.control.edit([])
    assert laid.of("new") is None


def test_an_engine_is_told_of_objects_too(tmp_path: Path) -> None:
    told: list[list[str]] = []
    file = tmp_path / "slosched.yaml"
    file.write_text(YAML)
    source = LiveConfig(file, [], queue=True, discovers=True)
    control = Control(source, lambda edits: told.append(list(edits)))
    objectives = Objectives(POOL)
    objectives.replace([objective("new", ttft_ms=7)])
    control.lay(objectives)
    control.edit(["classes.new.weight=3"])
    assert told == [['classes."new"={"ttft_ms": 7.0}'], [*told[0], "classes.new.weight=3"]]


def test_objects_of_a_cluster_become_classes_as_they_come_and_go(tmp_path: Path) -> None:
    """Of both groups; where both have one of a name, llm-d's counts."""

    async def main() -> None:
        old, new = OBJECTIVES
        async with fake(tmp_path) as (_, api, verbs), discovering(api, tmp_path) as kept:
            await verbs.create(POOLS, pool())
            await kept.cluster.wait_synced()
            assert set(kept.classes) == {"chat", "batch"}
            await verbs.create(old, objective("legacy", kind=old, ttft_ms=1))
            await verbs.create(old, objective("both", kind=old, ttft_ms=1))
            await verbs.create(new, objective("both", ttft_ms=2))
            await until(lambda: set(kept.classes) == {"chat", "batch", "legacy", "both"})
            await until(lambda: kept.classes["both"]["ttft_ms"] == 2.0)  # type: ignore[index]
            change = {"metadata": {"annotations": {"slosched.dev/ttft-ms": "9"}}}
            await verbs.patch(new, "both", change)
            await until(lambda: kept.classes["both"]["ttft_ms"] == 9.0)  # type: ignore[index]
            await verbs.delete(new, "both")
            await until(lambda: kept.classes["both"]["ttft_ms"] == 1.0)  # type: ignore[index]
            await verbs.delete(old, "both")
            await verbs.delete(old, "legacy")
            await until(lambda: set(kept.classes) == {"chat", "batch"})

    asyncio.run(main())
