"""Learned predictors out of a configuration: in virtual time, and beside an engine."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from slosched import Request, Slo
from slosched.config.schema import Settings
from slosched.config.validate import validate
from slosched.config.yaml import load_yaml
from slosched.core.errors import ConfigError
from slosched.core.request import TracedRequest
from slosched.core.transcript import RecordedTranscript
from slosched.predictors.at_once import AtOnce
from slosched.predictors.background import Background
from slosched.predictors.folder import save
from slosched.predictors.head import HeadKind
from slosched.predictors.model import PROBE
from slosched.predictors.sketch import BINS, bin_of
from slosched.training.conformal import calibrate
from slosched.training.cuts import every_so_often
from slosched.training.examples import Example
from slosched.training.fit_head import Lesson, fit_head
from slosched.training.options import TrainOptions
from tests.predictors.parts import ByLength, until


def examples(n: int) -> list[Example]:
    """The longer the prompt, the longer the answer."""
    rng = np.random.default_rng(n)
    lengths = rng.integers(1, 200, n).tolist()
    return [Example("p" * k, "word " * (3 * k), k, 3 * k + 1, str(k)) for k in lengths]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that was trained on the encoder of the tests, which is opened in its stead."""
    monkeypatch.setattr("slosched.predictors.model.open_encoder", lambda *_, **__: ByLength())
    return trained(tmp_path / "model", "quantile")


def trained(folder: Path, kind: HeadKind) -> Path:
    from slosched.predictors.folder import Description
    from slosched.predictors.model import features

    options = TrainOptions(head=kind, hidden=(16,), dropout=0.0, epochs=20, learning_rate=0.01)
    encoder = ByLength()
    lessons = []
    for n in (400, 100, 300):
        cuts = every_so_often(examples(n), "apart", 50, 0, thin=True)
        read = features("apart", encoder, cuts.said, cuts.input_tokens.tolist())
        lessons.append((cuts, Lesson(read, cuts.left, cuts.cut_off)))
    head = fit_head(options, lessons[0][1], lessons[1][1])
    cuts, shown = lessons[2]
    calibration = calibrate(
        kind, head.outputs(shown.features), cuts.produced, cuts.left, cuts.cut_off
    )
    usual = np.full(BINS, 0.5)
    for example in examples(400):
        usual[bin_of(example.output_tokens)] += 1
    tensors = {
        **head.tensors(), **calibration.tensors(),
        "usual": usual / usual.sum(), "probe": encoder.encode([PROBE])[0],
    }  # fmt: skip
    save(folder, Description("by length", 2, "mean", 64, kind, "apart", 50), tensors, "A card.\n")
    return folder


def settings(folder: Path | str, kind: str = "encoder") -> Settings:
    text = f"classes: {{any: {{e2e_ms: 60000}}}}\npredictor: {{kind: {kind}, model: {folder}}}\n"
    return validate(load_yaml(text, "t.yaml"), TypeAdapter(Settings))


def request(length: int, name: str = "r") -> Request:
    texts = RecordedTranscript("p" * length, "word " * (3 * length), 3 * length + 1)
    return Request(name, 0.0, length, Slo(e2e=60.0), "any", transcript=texts)


def test_a_simulation_reads_prompts_and_answers_as_they_grow(folder: Path) -> None:
    predictor = settings(folder).lengths([])
    assert isinstance(predictor, AtOnce)
    requests = [request(20, "short"), request(150, "long")]
    left = predictor.remaining(requests, np.array([0, 0])).mean(axis=1)
    np.testing.assert_allclose(left, [61, 451], rtol=0.3)
    later = predictor.remaining(requests[1:], np.array([300])).mean()
    assert later == pytest.approx(151, rel=0.4)


def test_requests_without_texts_are_judged_by_experience(folder: Path) -> None:
    predictor = settings(folder).lengths([])
    silent = replace(request(150), transcript=None)
    for _ in range(300):
        predictor.observe(silent, 40)  # type: ignore[attr-defined]
    assert predictor.remaining([silent], np.array([0])).mean() == pytest.approx(40, rel=0.2)


def test_what_comes_true_corrects_the_model(folder: Path) -> None:
    predictor = settings(folder).lengths([])
    before = predictor.remaining([request(100)], np.array([0])).mean()
    for _ in range(500):
        predictor.observe(request(100), 200)  # type: ignore[attr-defined]
    after = predictor.remaining([request(100)], np.array([0])).mean()
    assert abs(after - 200) < abs(before - 200)


def test_each_run_learns_for_itself(folder: Path) -> None:
    chosen = settings(folder)
    first, second = chosen.lengths([]), chosen.lengths([])
    silent, nobody = replace(request(100), transcript=None), np.array([0])
    for _ in range(500):
        first.observe(silent, 5)  # type: ignore[attr-defined]
    assert first.remaining([silent], nobody).mean() < 10
    assert second.remaining([silent], nobody).mean() > 100


def test_a_simulation_from_end_to_end(folder: Path) -> None:
    chosen = settings(folder).with_policy("sjf")
    trace = [
        TracedRequest(replace(request(k, f"r{k}"), arrival=0.0), 3 * k + 1)
        for k in (150, 10, 100, 50)
    ]
    records = chosen.offline().simulated_engine(trace).run(trace)
    assert records.plan_failures == 0
    assert np.isfinite(records.finish).all()


def test_beside_an_engine_it_reads_in_its_own_thread(folder: Path) -> None:
    predictor = settings(folder).lengths()
    assert isinstance(predictor, Background)
    one, nobody = request(150), np.array([0])
    assert predictor.remaining([one], nobody).mean() == pytest.approx(200, rel=0.2)
    until(lambda: predictor.improved() == ["r"])
    assert predictor.remaining([one], nobody).mean() == pytest.approx(451, rel=0.3)
    assert not predictor.take_errors()
    predictor.close()


def test_models_that_are_none(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"predictor.model: nowhere: no such folder"):
        settings("nowhere").lengths()
    with pytest.raises(ConfigError, match="is no ranker"):
        settings(folder, "ranker").lengths()
    assert isinstance(settings(trained(tmp_path / "r", "ranking"), "ranker").lengths(), Background)
    (folder / "model.safetensors").write_bytes(b"\0" * 10)
    with pytest.raises(ConfigError, match=r"predictor.model: .*model.safetensors"):
        settings(folder).lengths([])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("threads: 0", "threads: must be at least 1, got 0"),
        ("batch_ms: 0", "batch_ms: must be greater than 0, got 0"),
        ("runtime: tpu", "runtime"),
    ],
)
def test_parameters_of_learned_predictors(change: str, problem: str) -> None:
    text = f"classes: {{any: {{e2e_ms: 1}}}}\npredictor: {{kind: encoder, model: m, {change}}}\n"
    with pytest.raises(ConfigError, match=problem):
        validate(load_yaml(text, "t.yaml"), TypeAdapter(Settings))
