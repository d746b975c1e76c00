"""Heads: numpy computes what torch trained, and each kind learns what can be learned."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

from slosched.core.errors import ModelError
from slosched.predictors.head import FIVE_CLASSES, HeadKind, head_from, score
from slosched.predictors.model import NUMBERS
from slosched.training.fit_head import Epoch, Lesson, fit_head
from slosched.training.losses import loss
from slosched.training.net import widened
from slosched.training.options import TrainOptions

OPTIONS = TrainOptions(
    cuts=FIVE_CLASSES, hidden=(16,), dropout=0.0, learning_rate=0.02, batch=64, epochs=15
)
KINDS: tuple[HeadKind, ...] = ("regression", "quantile", "classes", "ordinal", "ranking")


def lesson(n: int = 400, seed: int = 0) -> Lesson:
    """Lengths that three of five features tell, but for noise."""
    rng = np.random.default_rng(seed)
    features = rng.normal(3.0, 2.0, (n, 5)).astype(np.float32)
    logs = 4.5 + (features[:, :3] - 3.0) @ np.array([0.3, -0.2, 0.1]) + rng.normal(0, 0.2, n)
    left = np.maximum(np.rint(np.exp(logs)), 1).astype(np.int64)
    return Lesson(features, left, np.zeros(n, dtype=np.bool_))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_head_learns_the_order_of_lengths(kind: HeadKind) -> None:
    train, unseen = lesson(), lesson(300, seed=1)
    head = fit_head(replace(OPTIONS, head=kind), train, lesson(100, seed=2))
    scores = head.scores(head.outputs(unseen.features))
    assert kendalltau(scores, unseen.left).statistic > 0.6


@pytest.mark.parametrize("scale", ["log", "tokens"])
@pytest.mark.parametrize("loss", ["l1", "mse"])
def test_regressions_of_all_kinds(loss: str, scale: str) -> None:
    options = replace(OPTIONS, head="regression", loss=loss, scale=scale)  # type: ignore[arg-type]
    head = fit_head(options, lesson(), lesson(100, seed=2))
    unseen = lesson(300, seed=1)
    said = head.scores(head.outputs(unseen.features))
    tokens = np.expm1(said) if scale == "log" else 100 * said
    of_a_constant = np.abs(unseen.left - np.median(unseen.left)).mean()
    assert np.abs(tokens - unseen.left).mean() < 0.75 * of_a_constant


@pytest.mark.parametrize("kind", KINDS)
def test_numpy_computes_what_torch_does(kind: HeadKind) -> None:
    import torch

    from slosched.training.net import HeadNet

    options = replace(OPTIONS, head=kind, hidden=(8, 4))
    net = HeadNet(options, np.ones(5, np.float32), np.full(5, 2, np.float32)).eval()
    features = lesson(20).features
    with torch.inference_mode():
        expected = net(torch.from_numpy(features)).numpy()
    head = net.head()
    np.testing.assert_allclose(head.outputs(features), expected, rtol=1e-4, atol=1e-5)
    again = head_from(kind, head.tensors())
    np.testing.assert_array_equal(again.outputs(features), head.outputs(features))


def test_a_head_that_is_widened_says_the_same_until_it_learns_more() -> None:
    rng = np.random.default_rng(0)
    narrow = rng.normal(2, 3, (200, 4 + NUMBERS)).astype(np.float32)
    narrow[:, -2:] = 0  # as of prompts alone
    left = np.maximum(narrow[:, 0] * 30 + 200, 1).astype(np.int64)
    whole = np.zeros(200, dtype=np.bool_)
    options = replace(OPTIONS, head="regression", epochs=3)
    head = fit_head(options, Lesson(narrow, left, whole), Lesson(narrow, left, whole))
    answers, produced = rng.normal(5, 1, (200, 4)), rng.uniform(0, 9, (200, 2))
    wide = np.hstack((narrow[:, :4], answers, narrow[:, 4:5], produced)).astype(np.float32)
    begun = widened(head, wide, known=4)
    np.testing.assert_allclose(begun.outputs(wide), head.outputs(narrow), rtol=1e-4, atol=1e-4)
    about = replace(options, epochs=1, learning_rate=1e-9)
    same = fit_head(about, Lesson(wide, left, whole), Lesson(wide, left, whole), start=begun)
    np.testing.assert_allclose(same.outputs(wide), begun.outputs(wide), rtol=1e-3, atol=1e-3)


def test_of_who_was_cut_off_nothing_is_learnt_about_the_end() -> None:
    """Only the borders that an answer reached are known of it."""
    import torch

    measured = loss(replace(OPTIONS, head="ordinal", cuts=(10, 100, 1000)))
    left, said = torch.tensor([150.0]), torch.zeros((1, 3), requires_grad=True)
    for cut_off, wanted in ((True, [True, True, False]), (False, [True, True, True])):
        [slope] = torch.autograd.grad(measured(said, left, torch.tensor([cut_off])), said)
        assert (slope[0] != 0).tolist() == wanted


def test_scores_are_by_what_is_said() -> None:
    certain = np.array([[9.0, 0, 0], [0, 9, 0], [0, 0, 9]], dtype=np.float32)
    assert list(np.rint(score("classes", certain))) == [0, 1, 2]
    beyond = np.array([[-9.0, -9], [9, -9], [9, 9]], dtype=np.float32)
    assert list(np.rint(score("ordinal", beyond))) == [0, 1, 2]


def test_training_goes_on_where_it_stopped(tmp_path: Path) -> None:
    train, stop, path = lesson(), lesson(100, seed=2), tmp_path / "state.safetensors"
    whole = fit_head(OPTIONS, train, stop)
    seen: list[Epoch] = []

    def interrupt(epoch: Epoch) -> None:
        seen.append(epoch)
        if len(seen) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_head(OPTIONS, train, stop, checkpoint=path, told=interrupt)
    resumed = fit_head(OPTIONS, train, stop, checkpoint=path, told=seen.append)
    assert [epoch.number for epoch in seen] == list(range(1, len(seen) + 1))
    np.testing.assert_allclose(
        resumed.outputs(stop.features), whole.outputs(stop.features), rtol=1e-4, atol=1e-4
    )


def test_a_checkpoint_of_something_else_is_not_gone_on_from(tmp_path: Path) -> None:
    path, seen = tmp_path / "state.safetensors", list[int]()
    short = replace(OPTIONS, epochs=3)
    fit_head(short, lesson(), lesson(100, seed=2), checkpoint=path)
    fit_head(
        short, lesson(seed=7), lesson(100, seed=2), checkpoint=path,
        told=lambda epoch: seen.append(epoch.number),
    )  # fmt: skip
    assert seen == [1, 2, 3]


def test_a_checkpoint_that_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    fit_head(replace(OPTIONS, epochs=2), lesson(), lesson(100), checkpoint=path)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ModelError, match="delete it to begin anew"):
        fit_head(OPTIONS, lesson(), lesson(100), checkpoint=path)


def test_a_learning_rate_that_is_too_high() -> None:
    wild = replace(OPTIONS, head="regression", loss="mse", scale="tokens", learning_rate=1e30)
    with pytest.raises(ModelError, match=r"learning_rate 1e\+30 is too high"):
        fit_head(wild, lesson(), lesson(100))
