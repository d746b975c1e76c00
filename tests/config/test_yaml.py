"""Every error of a configuration says what is wrong, where, and what would be right."""

import json
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from slosched.config.overrides import apply_overrides, environment
from slosched.config.validate import validate
from slosched.config.yaml import load_yaml
from slosched.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Anneal:
    kind: Literal["anneal"] = "anneal"
    cooling: float = 0.95
    move_budget: int | None = None
    anneal: bool = False  # named as its own tag, to confuse

    def __post_init__(self) -> None:
        if not 0 < self.cooling < 1:
            raise ValueError(f"cooling must be between 0 and 1, got {self.cooling}")


@dataclass(frozen=True, slots=True)
class Exhaustive:
    kind: Literal["exhaustive"] = "exhaustive"
    at_most: int = 10


@dataclass(frozen=True, slots=True)
class Fcfs:
    kind: Literal["fcfs"] = "fcfs"


@dataclass(frozen=True, slots=True)
class Planned:
    kind: Literal["planned"] = "planned"
    solver: Annotated[Anneal | Exhaustive, Field(discriminator="kind")] = field(
        default_factory=Anneal
    )
    preemption: bool = True


@dataclass(frozen=True, slots=True)
class Rule:
    slo_class: Annotated[str, Field(alias="class")]
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Engine:
    profile: str = "h100"
    order: Literal["sjf", "length"] = "sjf"
    limit: float = inf
    max_num_seqs: Annotated[int, Field(gt=0)] = 32


class SloClass(BaseModel):
    model_config = ConfigDict(extra="forbid")

    ttft_ms: float = inf
    e2e_ms: float = inf
    weight: float = 1

    @model_validator(mode="after")
    def _limited(self) -> "SloClass":
        if min(self.ttft_ms, self.e2e_ms) == inf:
            raise ValueError("needs at least one of ttft_ms and e2e_ms")
        return self


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    classes: dict[Annotated[str, Field(pattern=r"^\w+$")], SloClass] = Field(min_length=1)
    default_class: str = ""
    policy: Annotated[Fcfs | Planned, Field(discriminator="kind")] = Field(default_factory=Planned)
    assign: list[Rule] = Field(default_factory=list)
    engine: Engine | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        if self.default_class and self.default_class not in self.classes:
            raise ValueError(f"default_class: no class {self.default_class!r}")
        for i, rule in enumerate(self.assign):
            if rule.slo_class not in self.classes:
                raise ValueError(f"assign.{i}.class: no class {rule.slo_class!r}")
        return self


SETTINGS = TypeAdapter(Settings)
CLASSES = "classes: {chat: {ttft_ms: 1000}}\n"


def read(text: str, *overrides: str) -> Settings:
    return validate(apply_overrides(load_yaml(text, "s.yaml"), overrides), SETTINGS)


def problems(text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text, *overrides)
    return str(caught.value).splitlines()


def test_a_good_file_becomes_objects() -> None:
    settings = read(
        "# a comment\n"
        "classes:\n"
        "  chat: {ttft_ms: 1000, weight: 2}\n"
        "policy:\n"
        "  kind: planned\n"
        "  solver: {kind: anneal, cooling: 0.9, move_budget: null}\n"
        "assign:\n"
        "  - {class: chat, share: 0.5}\n"
    )
    assert settings.classes["chat"].weight == 2
    assert settings.policy == Planned(solver=Anneal(cooling=0.9))
    assert settings.assign == [Rule("chat", 0.5)]


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "{}"])
def test_an_empty_file_is_an_empty_mapping(text: str) -> None:
    assert load_yaml(text, "s.yaml").value == {}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e3", 1000.0),
        ("0x10", 16),
        ("010", 10),
        ("-2", -2),
        (".5", 0.5),
        (".inf", inf),
        ("true", True),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("on", "on"),
        ("2024-01-01", "2024-01-01"),
        ("12:30:00", "12:30:00"),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("[a, {b: 1}]", ["a", {"b": 1}]),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    assert load_yaml(f"a: {text}", "s.yaml").value == {"a": value}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "s.yaml:4:3: b.c: duplicate key, first at s.yaml:3:3"),
        ("a:\n\tb: 1\n", "s.yaml:2:1: a tab cannot stand here, indent with spaces"),
        ("a: [1\n", "s.yaml:2:1: expected ',' or ']', but got '<stream end>'"),
        ("a: 1\n---\nb: 2\n", "s.yaml:2:1: expected a single document in the stream, but found"),
        ("- 1\n", "s.yaml:1:1: must be a mapping of fields, got a list"),
        ("a: !!set {x}\n", "s.yaml:1:4: the tag tag:yaml.org,2002:set is not supported"),
        ("a: !mine 1\n", "s.yaml:1:4: the tag !mine is not supported"),
        ("a: !!int x\n", "s.yaml:1:4: is no int: 'x'"),
        ("a: &x 1\nb: *x\n", "s.yaml:2:4: aliases are not supported, write the value again"),
        ("a: &x [*x]\n", "s.yaml:1:8: aliases are not supported, write the value again"),
        ("? [1]\n: 2\n", "s.yaml:1:3: a key must be a text"),
        ("a: 1\nb: \x01\n", "s.yaml:2:4: a control character cannot stand here"),
        ("a: " + "[" * 5000, "s.yaml:1:1: nested too deeply"),
    ],
)
def test_what_is_no_plain_yaml_is_an_error_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_yaml(text, "s.yaml")
    assert str(caught.value).startswith(problem)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        # At the key: names that nobody knows.
        (
            "classes:\n  code: {e2e_ms: 9, ttf_ms: 5}\n",
            "s.yaml:2:21: classes.code.ttf_ms: unknown field, did you mean ttft_ms?",
        ),
        (CLASSES + "polcy: {}\n", "s.yaml:2:1: polcy: unknown field, did you mean policy?"),
        (
            CLASSES + "policy: {kind: fcfs, zzz: 1}\n",
            "s.yaml:2:22: policy.zzz: unknown field, known: kind",
        ),
        (
            CLASSES + "policy:\n  kind: planned\n  solver:\n    kind: anneal\n    coling: 0.9\n",
            "s.yaml:6:5: policy.solver.coling: unknown field, did you mean cooling?",
        ),
        (
            CLASSES + "policy:\n  kind: planned\n  solver: {kind: exhaustive, cooling: 0.9}\n",
            "s.yaml:4:30: policy.solver.cooling: unknown field, known: at_most, kind",
        ),
        (
            CLASSES + "assign:\n- class: chat\n- {clas: chat, class: chat}\n",
            "s.yaml:4:4: assign.1.clas: unknown field, did you mean class?",
        ),
        (
            CLASSES + "engine: {profil: x}\n",
            "s.yaml:2:10: engine.profil: unknown field, did you mean profile?",
        ),
        (
            "classes: {a b: {e2e_ms: 1}}\n",
            "s.yaml:1:11: classes.a b: must match pattern '^\\w+$', got 'a b'",
        ),
        # At the value: what does not fit.
        (
            CLASSES + "policy:\n  kind: fcfss\n",
            "s.yaml:3:9: policy.kind: unknown 'fcfss', did you mean fcfs? (known: fcfs, planned)",
        ),
        (
            CLASSES + "policy: {kind: 3}\n",
            "s.yaml:2:16: policy.kind: unknown 3 (known: fcfs, planned)",
        ),
        (
            CLASSES + "policy: {kind: planned, solver: {kind: cp}}\n",
            "s.yaml:2:40: policy.solver.kind: unknown 'cp' (known: anneal, exhaustive)",
        ),
        (
            CLASSES + "policy: {kind: planned, solver: {kind: anneal, anneal: 7, cooling: x}}\n",
            "s.yaml:2:56: policy.solver.anneal: must be a boolean, got 7",
        ),
        (CLASSES + "policy: fcfs\n", "s.yaml:2:9: policy: must be a mapping, got 'fcfs'"),
        (CLASSES + "engine: fast\n", "s.yaml:2:9: engine: must be a mapping, got 'fast'"),
        ("classes: [chat]\n", "s.yaml:1:10: classes: must be a mapping, got a list"),
        ("classes:\n", "s.yaml:1:9: classes: must be a mapping, got nothing"),
        (CLASSES + "assign: {a: 1}\n", "s.yaml:2:9: assign: must be a list, got a mapping"),
        (
            "classes:\n  chat:\n    ttft_ms: fast\n",
            "s.yaml:3:14: classes.chat.ttft_ms: must be a number, got 'fast'",
        ),
        (
            CLASSES + "engine:\n  max_num_seqs: 2.5\n",
            "s.yaml:3:17: engine.max_num_seqs: must be an integer, got 2.5",
        ),
        (
            CLASSES + "engine: {max_num_seqs: 0}\n",
            "s.yaml:2:24: engine.max_num_seqs: must be greater than 0, got 0",
        ),
        (
            CLASSES + "engine: {order: lengt}\n",
            "s.yaml:2:17: engine.order: unknown 'lengt', did you mean length? (known: sjf, length)",
        ),
        # In the words of the class itself, at the field that it names.
        (
            CLASSES + "policy:\n  kind: planned\n  solver: {kind: anneal, cooling: 2}\n",
            "s.yaml:4:35: policy.solver.cooling: must be between 0 and 1, got 2.0",
        ),
        (
            "classes:\n  chat: {weight: 2}\n",
            "s.yaml:2:9: classes.chat: needs at least one of ttft_ms and e2e_ms",
        ),
        (CLASSES + "default_class: x\n", "s.yaml:2:16: default_class: no class 'x'"),
        (CLASSES + "assign: [{class: x}]\n", "s.yaml:2:18: assign.0.class: no class 'x'"),
        # At the mapping: what is not there.
        ("default_class: x\n", "s.yaml:1:1: classes: missing"),
        (CLASSES + "assign:\n  - {share: 0.5}\n", "s.yaml:3:5: assign.0.class: missing"),
        (
            CLASSES + "policy:\n  preemption: true\n",
            "s.yaml:3:3: policy.kind: missing (known: fcfs, planned)",
        ),
    ],
)
def test_a_problem_has_its_place_its_name_and_a_hint(text: str, problem: str) -> None:
    assert problems(text)[0] == problem


def test_all_problems_are_told_at_once_in_the_order_of_the_file() -> None:
    text = "policy: {kind: fcfss}\nclasses:\n  chat: {ttft_ms: x}\n  code: {ttf_ms: 1}\nzzz: 1\n"
    assert problems(text, "engine.max_num_seqs=x") == [
        "s.yaml:1:16: policy.kind: unknown 'fcfss', did you mean fcfs? (known: fcfs, planned)",
        "s.yaml:3:19: classes.chat.ttft_ms: must be a number, got 'x'",
        "s.yaml:4:10: classes.code.ttf_ms: unknown field, did you mean ttft_ms?",
        "s.yaml:5:1: zzz: unknown field, known: assign, classes, default_class, engine, policy",
        "--set engine.max_num_seqs: must be an integer, got 'x'",
    ]


def test_overrides_replace_add_and_nest_without_touching_the_document() -> None:
    document = load_yaml(CLASSES + "assign: [{class: chat}]\nengine:\n", "s.yaml")
    before = load_yaml(CLASSES + "assign: [{class: chat}]\nengine:\n", "s.yaml")
    changed = apply_overrides(
        document,
        [
            "policy={kind: planned}",
            "policy.solver.kind=anneal",
            "policy.solver.cooling=0.5",
            "assign.0.share=0.25",
            "engine.profile=a=b",
        ],
    )
    settings = validate(changed, SETTINGS)
    assert settings.policy == Planned(solver=Anneal(cooling=0.5))
    assert settings.assign == [Rule("chat", 0.25)]
    assert settings.engine == Engine("a=b")
    assert document == before


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("policy.kind", "--set policy.kind: must be PATH=VALUE, as in policy.kind=fcfs"),
        ("policy..kind=x", "--set policy..kind: a name in the path is empty"),
        ("=x", "--set : a name in the path is empty"),
        ("default_class.x=1", "--set default_class.x: default_class is 'chat', not a mapping"),
        ("assign.3.class=x", "--set assign.3.class: assign is a list of 1, no item '3'"),
        ("assign.x=1", "--set assign.x: assign is a list of 1, no item 'x'"),
        ("policy={kind", "--set policy: expected ',' or '}', but got '<stream end>'"),
        ("policy={kind: fcfs, kind: fcfs}", "--set policy: policy.kind: duplicate key"),
        ("policy.kind=fcfss", "--set policy.kind: unknown 'fcfss', did you mean fcfs?"),
        ("policy={kind: fcfss}", "--set policy: policy.kind: unknown 'fcfss'"),
        ("policy.solver.kind=anneal", "--set policy.solver.kind: policy.kind: missing"),
        ("engine.profil=x", "--set engine.profil: unknown field, did you mean profile?"),
    ],
)
def test_an_override_is_named_by_its_problem(override: str, problem: str) -> None:
    text = CLASSES + "default_class: chat\nassign: [{class: chat}]\n"
    assert problems(text, override)[0].startswith(problem)


def test_variables_override_by_their_nested_name() -> None:
    variables = {
        "HOME": "/",
        "SLOSCHED_CONFIG": "x.yaml",
        "SLOSCHED_SET": "x",
        "SLOSCHED_DEFAULT_CLASS": "chat",
        "SLOSCHED_POLICY__KIND": "fcfs",
        "SLOSCHED_ENGINE__MAX_NUM_SEQS": "8",
    }
    found = environment(variables, Settings.model_fields)
    settings = validate(apply_overrides(load_yaml(CLASSES, "s.yaml"), found), SETTINGS)
    assert settings.default_class == "chat"
    assert settings.policy == Fcfs()
    assert settings.engine == Engine(max_num_seqs=8)


def test_a_variable_of_an_unknown_field_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"^SLOSCHED_POLCY__KIND: .* did you mean policy\?"):
        environment({"SLOSCHED_POLCY__KIND": "fcfs"}, Settings.model_fields)


def test_a_bad_value_in_a_variable_is_told_with_the_variable() -> None:
    found = environment({"SLOSCHED_POLICY__KIND": "fcfss"}, Settings.model_fields)
    with pytest.raises(ConfigError, match=r"^SLOSCHED_POLICY__KIND: policy\.kind: unknown 'fcfss'"):
        validate(apply_overrides(load_yaml(CLASSES, "s.yaml"), found), SETTINGS)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*Settings.model_fields, "kind", "chat"]), inner)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from([*Settings.model_fields, "x"]), plain))
def test_whatever_the_data_there_is_a_value_or_a_config_error(data: dict[str, Any]) -> None:
    # JSON is YAML, on one line.
    with suppress(ConfigError):
        read(json.dumps(data))


@given(st.text())
def test_whatever_the_text_there_is_a_document_or_a_config_error(text: str) -> None:
    with suppress(ConfigError):
        load_yaml(text, "s.yaml")
