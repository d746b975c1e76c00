"""Profiles from tables of measured times."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from slosched import LinearLatency
from slosched.calibrate import error, table
from slosched.calibrate.fit import Fitted, fit
from slosched.calibrate.observation import Observation
from slosched.cli.main import app
from slosched.config.profile import Profile, load_profile, shipped

REAL = Path("../shared/data/splitwise_perf_model.csv")
MODEL = LinearLatency(0.030, 0.05e-3, 0.2e-3, 0.15e-6)
HEADING = ",".join(("extra", *table.COLUMNS))
# Steps of up to 2048 prompt tokens, and larger ones.
SIZES = [(n, 1) for n in (128, 512, 1024, 2048, 4096)] + [(512, n) for n in (2, 4, 8, 64)]
MEASURED = {
    f"{hardware}-{model}-tp{parallel}": (model, f"{hardware}-80gb", parallel)
    for hardware, model, parallel in [
        *product(("a100", "h100"), ("llama2-70b",), ("2", "4", "8")),
        ("a100", "bloom-176b", "8"),
        ("h100", "bloom-176b", "8"),
    ]
}


def rows(model: LinearLatency, name: str = "m", steep: float = 1.0) -> list[str]:
    """Lines as the model has them; prompts of more than 2048 tokens take `steep` times as long."""
    found = []
    for prompt, batch in SIZES:
        tokens, output = prompt * batch, 128
        prompt_s = model.step(tokens, 0, 0) * (steep if tokens > 2048 else 1.0)
        token_s = model.step(0, batch, batch * (prompt + output / 2))
        times = f"{1e3 * prompt_s!r},{1e3 * token_s!r}"
        found.append(f"x,{name},gpu,8,{prompt},{batch},{output},{times}")
    return found


def written(folder: Path, *lines: str, heading: str = HEADING) -> Path:
    path = folder / "table.csv"
    path.write_text("\n".join((heading, *lines)), encoding="utf-8")
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["calibrate", *map(str, arguments)])


def profiled(folder: Path, path: Path, *options: object) -> Profile:
    output = folder / "profile.yaml"
    result = run("--table", path, "-o", output, *options)
    assert result.exit_code == 0, result.output
    return load_profile(str(output))


@settings(max_examples=25)
@given(
    st.builds(
        LinearLatency, st.floats(0.005, 0.1), st.floats(1e-5, 1e-3), st.floats(1e-5, 1e-3),
        st.floats(1e-8, 1e-6),
    ),
    st.floats(0.2, 3.0),
)  # fmt: skip
def test_the_model_behind_a_table_is_found(
    tmp_path_factory: pytest.TempPathFactory, truth: LinearLatency, steep: float
) -> None:
    """And steps that the engine never takes have no say in it."""
    path = written(tmp_path_factory.mktemp("t"), *rows(truth, steep=steep))
    usual, larger = table.observations(table.read_table(path), 2048)
    found = fit(usual).latency
    for name in ("base", "per_prefill_token", "per_sequence", "per_context_token"):
        assert getattr(found, name) == pytest.approx(getattr(truth, name), rel=1e-3), name
    off = error.relative(fit(usual), larger)
    assert off == pytest.approx(1 / steep - 1, rel=1e-2, abs=1e-3)


def test_a_profile_says_how_far_it_is_off(tmp_path: Path) -> None:
    path = written(tmp_path, *rows(MODEL, steep=2.0))
    found = profiled(tmp_path, path)
    assert found.latency().per_prefill_token == pytest.approx(MODEL.per_prefill_token, rel=1e-3)
    assert found.overhead_ms is None
    assert (found.model, found.hardware) == ("m", "gpu")
    assert "tensor parallel 8, steps of up to 2048 prompt tokens" in found.source
    assert found.limits() == {"max_num_batched_tokens": 2048}
    errors = found.relative_error
    assert errors["prefill"].median < 1e-3
    assert errors["decode"].median < 1e-3
    assert errors["larger_prefill"].bias == pytest.approx(-0.5, abs=1e-3)
    assert "larger prefill 50.0%" in found.error
    wide = profiled(tmp_path, path, "--max-num-batched-tokens", 1 << 20)
    assert "larger_prefill" not in wide.relative_error
    assert wide.relative_error["prefill"].p90 > 0.2


def test_what_is_measured_often_counts_as_much_as_what_is_measured_once(tmp_path: Path) -> None:
    once = rows(MODEL)
    odd = once[0].replace(",128,1,128,", ",300,1,128,")  # no such engine
    many = table.read_table(written(tmp_path, *once, *[odd] * 99))
    few = table.read_table(written(tmp_path, *once, odd))
    assert fit(table.observations(many, 2048)[0]) == fit(table.observations(few, 2048)[0])


def test_the_table_is_shown_and_printed(tmp_path: Path) -> None:
    path = written(tmp_path, *rows(MODEL))
    shown = run("--table", path)
    assert shown.exit_code == 0
    assert "per_prefill_token_ms" in shown.stdout
    assert "64 x 512 tokens" in shown.stdout
    printed = json.loads(run("--table", path, "--format", "json").stdout)
    assert set(printed) == {"profile", "measurements"}
    assert printed["profile"]["base_ms"] == pytest.approx(30.0)
    assert {m["regime"] for m in printed["measurements"]} == {"prefill", "decode"}
    assert sorted(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("lines", "options", "complaint"),
    [
        (rows(MODEL) + rows(MODEL, "n"), (), "--model: {path} has 2, name one: m, n"),
        (rows(MODEL), ("--model", "k"), "--model: {path} has no 'k', only m"),
        ([], (), "--model: {path} has 0, name one: "),
        (rows(MODEL), ("--tensor-parallel", "2"), "--tensor-parallel: {path} has no '2', only 8"),
        (["x,m,gpu,8,128,1,128,NaN,3"], (), "{path}:2: prompt_time must be a number, got 'NaN'"),
        (["x,m,gpu,8,128,1,128,3"], (), "{path}:2: token_time must be a number, got None"),
        ([*rows(MODEL), "x,m,gpu,8,0,1,8,3,3"], (), "{path}:11: prompt_size must be a number"),
        (["x,m,gpu,8,4096,1,128,300,30"], (), "needs measurements of prompts and of decoding"),
    ],
)
def test_what_cannot_be_fitted_is_one_line_and_exit_code_2(
    tmp_path: Path, lines: list[str], options: tuple[str, ...], complaint: str
) -> None:
    path = written(tmp_path, *lines)
    result = run("--table", path, "-o", tmp_path / "p.yaml", *options)
    assert result.exit_code == 2
    assert complaint.format(path=path) in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "p.yaml").exists()


def test_a_table_needs_its_columns(tmp_path: Path) -> None:
    result = run("--table", written(tmp_path, heading="model,hardware"))
    assert result.exit_code == 2
    assert ":1: no column tensor_parallel, prompt_size" in result.stderr
    assert "No such file" in run("--table", tmp_path / "none.csv").stderr


def test_a_table_or_a_server() -> None:
    for arguments in ((), ("http://127.0.0.1:9", "--table", "t.csv")):
        result = run(*arguments)
        assert result.exit_code == 2
        assert "name either the URL of a server, or --table FILE" in result.stderr


def tables(tmp_path: Path) -> list[Path]:
    """List one that the test makes, of all that ships; and the measured one where there is one."""
    lines = [
        line.replace("x,m,gpu,8,", f"x,{','.join(names)},")
        for names in MEASURED.values()
        for line in rows(MODEL)
    ]
    return [written(tmp_path, *lines), *([REAL] if REAL.exists() else [])]


@pytest.mark.parametrize("name", [n for n in shipped() if n != "cpu-smollm2-135m"])
def test_a_shipped_profile_is_what_its_table_gives(name: str, tmp_path: Path) -> None:
    """And is told apart from others by what the table says of model and hardware."""
    found = load_profile(name)
    names = dict(zip(table.COLUMNS[:3], MEASURED[name.removesuffix("-2k")], strict=True))
    assert (found.model, found.hardware) == (names["model"], names["hardware"])
    assert f"tensor parallel {names['tensor_parallel']}" in found.source
    assert {"prefill", "decode", "larger_prefill"} == set(found.relative_error)
    assert found.error.startswith("median: prefill")
    for path in tables(tmp_path):
        chosen = table.choose(table.read_table(path), names, path)
        usual, larger = table.observations(chosen, 2048)
        if path is REAL:
            check_errors(found, usual, larger)
        options = [part for k, v in names.items() for part in (f"--{k.replace('_', '-')}", v)]
        again = profiled(tmp_path, path, *options)
        if path is REAL and name != "h100-llama2-70b-tp8":
            dated = {"versions"}
            assert again.model_dump(exclude=dated) == found.model_dump(exclude=dated)


def check_errors(found: Profile, usual: list[Observation], larger: list[Observation]) -> None:
    """What the profile says of its own error is what its coefficients give, to four digits."""
    fitted = Fitted(found.latency(), 0.0)
    errors: dict[str, Any] = dict(error.by_regime(fitted, usual))
    errors["larger_prefill"] = error.sum_up(error.relative(fitted, larger))
    for regime, stated in found.relative_error.items():
        for field in ("median", "p90", "bias", "measurements"):
            computed = getattr(errors[regime], field)
            assert getattr(stated, field) == pytest.approx(computed, abs=2e-3, rel=2e-3)


def test_the_default_profile_stays_as_it_is() -> None:
    """Published figures rest on it."""
    assert load_profile("h100-llama2-70b-tp8").latency() == LinearLatency(
        29.83 / 1e3, 0.0910 / 1e3, 0.2077 / 1e3, 0.000173 / 1e3
    )
