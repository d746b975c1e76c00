"""The pages of docs/ on policies and solvers: there is one for each, and what it says loads."""

import re
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from slosched.config.parts import POLICIES, SOLVERS
from slosched.config.schema import Settings
from slosched.config.validate import validate
from slosched.config.yaml import load_yaml
from slosched.policies.planned import Planned

DOCS = Path(__file__).parents[2] / "docs"
HEADINGS = ["What it does", "Why choose it", "Inputs", "Configuration", "Trade-offs"]
CLASSES = "classes: {any: {e2e_ms: 1000}}\n"
YAML = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = [("policies", kind) for kind in POLICIES] + [("solvers", kind) for kind in SOLVERS]


@pytest.mark.parametrize(("folder", "kind"), PAGES)
def test_each_part_has_a_page_under_the_same_headings(folder: str, kind: str) -> None:
    text = (DOCS / folder / f"{kind}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# `{kind}`\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == HEADINGS
    index = (DOCS / f"{folder}.md").read_text(encoding="utf-8")
    assert f"[`{kind}`]({folder}/{kind}.md)" in index
    assert folder == "solvers" or "Starvation risk" in text


@pytest.mark.parametrize(("folder", "kind"), PAGES)
def test_what_a_page_shows_is_a_configuration(folder: str, kind: str) -> None:
    page = DOCS / folder / f"{kind}.md"
    blocks = YAML.findall(page.read_text(encoding="utf-8"))
    assert blocks
    for block in blocks:
        policy = validate(load_yaml(CLASSES + block, page.name), TypeAdapter(Settings)).policy
        named = policy.solver if isinstance(policy, Planned) and folder == "solvers" else policy
        assert named.kind == kind


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
