"""Grids: every combination once, each checked before anything runs."""

import re
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched.core.errors import ConfigError
from slosched.whatif.dimension import dimension, from_option
from slosched.whatif.grid import grid
from tests.whatif.parts import CLASSES, document

DOCS = Path(__file__).parents[2] / "docs"
VALUES: dict[str, st.SearchStrategy[object]] = {
    "load": st.sampled_from([0.5, 1, 2.0]),
    "policy": st.sampled_from(["fcfs", "sjf", "planned", "edf"]),
    "engine.max_num_seqs": st.integers(1, 64),
    "engine.num_kv_blocks": st.integers(100, 9000),
    "planner.margin": st.sampled_from([{"kind": "fixed", "factor": 1.5}, {"kind": "learned"}]),
}


@given(st.data())
def test_cells_are_the_product_each_once(data: st.DataObject) -> None:
    """Law: whatever comes twice, and in whatever order, a grid has every combination once."""
    paths = data.draw(st.lists(st.sampled_from(list(VALUES)), unique=True, max_size=4))
    lists: dict[str, list[object]] = {
        path: data.draw(st.lists(VALUES[path], min_size=1, max_size=4)) for path in paths
    }
    asked = grid(document(), [dimension(path, lists[path], path) for path in paths])
    cells = asked.cells()
    found = [[repr(value) for value in cell.values.values()] for cell in cells]
    wanted: dict[str, list[object]] = {"load": [1.0], "policy": ["planned"], **lists}
    wanted["load"] = [float(str(x)) for x in wanted["load"]]
    each = [list(dict.fromkeys(map(repr, wanted[path]))) for path in cells[0].values]
    assert found == [list(combination) for combination in product(*each)]
    assert len(found) == len(asked)


def test_a_cell_has_its_settings() -> None:
    options = [from_option(text) for text in ("engine.max_num_seqs=8,16", "policy=sjf,planned")]
    cells = grid(document(), options, loads=[2.0]).cells()
    assert [(c.load, c.settings.engine.max_num_seqs, c.settings.policy.kind) for c in cells] == [
        (2.0, 8, "sjf"), (2.0, 8, "planned"), (2.0, 16, "sjf"), (2.0, 16, "planned"),
    ]  # fmt: skip


def test_the_configuration_has_a_grid_that_options_go_before() -> None:
    text = "whatif: {grid: {load: [1, 2], policy: [fcfs, {kind: planned, robust: false}]}}\n"
    own = grid(document(CLASSES + text))
    assert [(c.load, c.settings.policy.kind) for c in own.cells()] == [
        (1.0, "fcfs"), (1.0, "planned"), (2.0, "fcfs"), (2.0, "planned"),
    ]  # fmt: skip
    planned = own.cells()[1].settings
    assert planned.policy.robust is False  # type: ignore[union-attr]
    assert not planned.whatif.grid, "a run is one run, whoever repeats it"
    both = [dimension("load", [3], "--load"), from_option("load=4")]
    assert [c.load for c in grid(document(CLASSES + text), both).cells()] == [3, 3, 4, 4]


def test_a_policy_has_its_parameters_tried_and_its_defaults_otherwise() -> None:
    text = CLASSES + "policy: {kind: planned, solver: {kind: anneal, cooling: 0.5}}\n"
    one = grid(document(text), [from_option("policy.solver.horizon=16,32")]).cells()
    assert [(c.settings.policy.solver.horizon, c.settings.policy.solver.cooling) for c in one] == [  # type: ignore[union-attr]
        (16, 0.5), (32, 0.5),
    ]  # fmt: skip
    other = grid(
        document(text), [from_option("policy=aged_sjf"), from_option("policy.tokens_per_second=5")]
    )
    (cell,) = other.cells()
    assert cell.settings.policy.tokens_per_second == 5  # type: ignore[union-attr]


def test_all_policies_are_tried() -> None:
    kinds = [c.settings.policy.kind for c in grid(document(), [from_option("policy=all")]).cells()]
    assert len(kinds) == len(set(kinds)) == 13


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["engine.max_seqs=3"], "engine.max_seqs: unknown field, did you mean max_num_seqs?"),
        (["engine.max_num_seqs=16,x"], "--grid engine.max_num_seqs: must be an integer, got 'x'"),
        (["engine.max_num_seqs=[1]"], "--grid engine.max_num_seqs: must be an integer, got a list"),
        (["engine.max_num_seqs="], "--grid engine.max_num_seqs: needs at least one value"),
        (["engine.max_num_seqs=1,,2"], "--grid engine.max_num_seqs: expected"),
        (["engine.max_num_seqs"], "--grid engine.max_num_seqs: must be PATH=VALUE"),
        (["=3"], "--grid =3: must be PATH=VALUE"),
        (["engine.profile=h200"], "engine.profile: 'h200' is no readable file"),
        (["load=1,-2"], "--grid load must be greater than 0 and finite, got -2"),
        (["load=true"], "--grid load must be greater than 0 and finite, got true"),
        (["policy=fcsf"], "--grid policy: unknown policy 'fcsf', did you mean fcfs?"),
        (["policy=[fcfs]"], "--grid policy: must be names of policies, got a list"),
        (
            ["engine.max_num_seqs=16,64", "engine.max_num_batched_tokens=32"],
            "(in the run with engine.max_num_seqs 64, engine.max_num_batched_tokens 32)",
        ),
        (["policy.solver.cooling=0.5", "policy=planned,sjf"], "(in the run with policy sjf, "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(options: list[str], complaint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        grid(document(), [from_option(option) for option in options]).cells()
    assert complaint in str(raised.value)


@pytest.mark.parametrize(("page", "runs"), [("capacity", 12), ("configuration", 8)])
def test_the_grid_that_a_page_shows_is_one(page: str, runs: int) -> None:
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```yaml\n(whatif:.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(grid(document(CLASSES + block)).cells()) == runs


def test_what_is_wrong_in_the_configuration_is_named_by_line() -> None:
    text = CLASSES + "whatif:\n  grid:\n    engine.max_seqs: [3]\n"
    with pytest.raises(ConfigError, match=r"test.yaml:4:5: engine.max_seqs: unknown field, did"):
        grid(document(text)).cells()
    with pytest.raises(ConfigError, match=r"test.yaml:2:29: whatif.grid.load: must .* 1 item"):
        grid(document(CLASSES + "whatif: {grid: {      load: []}}\n"))
