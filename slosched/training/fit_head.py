"""Trains a head on embeddings: Adam, early stopping, checkpoints to go on from."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from slosched.core.errors import ModelError
from slosched.core.types import BoolArray, IntArray
from slosched.predictors.head import Head
from slosched.training.losses import loss
from slosched.training.net import HeadNet, standard
from slosched.training.options import TrainOptions

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a head is shown.

    Parameters
    ----------
    features
        Shape (n, features).
    left
        Shape (n,): tokens that were to come.
    cut_off
        Shape (n,): whether there would have been more.
    """

    features: Floats
    left: IntArray
    cut_off: BoolArray


@dataclass(frozen=True, slots=True)
class Epoch:
    """How far training is: epochs done, and the loss on what is and is not learned from."""

    number: int
    learned: float
    unseen: float
    best: bool


def fit_head(
    options: TrainOptions,
    train: Lesson,
    stop: Lesson,
    *,
    start: Head | None = None,
    device: str = "cpu",
    checkpoint: Path | None = None,
    told: Callable[[Epoch], None] | None = None,
) -> Head:
    """Train a head; return the one with the least loss on what it did not learn from.

    Parameters
    ----------
    start
        Of the same shape, to go on from; it is returned if none is better.
    checkpoint
        File that is written after each epoch, and from which it goes on if it is there.

    Raises
    ------
    ModelError
        If the loss is no number, or the checkpoint is of something else.
    """
    torch.manual_seed(options.seed)
    mean, scale = (start.mean, start.scale) if start else standard(train.features)
    net = HeadNet(options, mean, scale).to(device)
    if start is not None:
        net.go_on_from(start)
    trainer = _Trainer(options, net, train, stop, device)
    state = _Checkpoint(checkpoint, options, train)
    best, since, begin = state.load(trainer)
    kept = net.head() if best is None else state.best(net)
    at_first = float("inf") if start is None else trainer.unseen()
    least = at_first if best is None else best
    for number in range(begin, options.epochs):
        if since >= options.patience:
            break
        learned = trainer.epoch(number)
        unseen = trainer.unseen()
        if not np.isfinite(unseen):
            raise ModelError(
                f"the loss is {unseen} after {number + 1} epochs: learning_rate "
                f"{options.learning_rate} is too high"
            )
        improved = unseen < least
        if improved:
            least, since, kept = unseen, 0, net.head()
        else:
            since += 1
        state.save(trainer, kept, least, since, number + 1)
        if told is not None:
            told(Epoch(number + 1, learned, unseen, improved))
    return kept


class _Trainer:
    def __init__(
        self, options: TrainOptions, net: HeadNet, train: Lesson, stop: Lesson, device: str
    ) -> None:
        self.net = net
        self.optimizer = torch.optim.AdamW(
            net.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )
        self._options, self._loss = options, loss(options)
        self._train, self._stop = _on(train, device), _on(stop, device)

    def epoch(self, number: int) -> float:
        """See everything once, in an order that depends on the epoch; return the mean loss."""
        self.net.train()
        features, left, cut_off = self._train
        drawn = torch.Generator().manual_seed(self._options.seed * 10_007 + number)
        total = 0.0
        for batch in torch.randperm(len(left), generator=drawn).split(self._options.batch):
            self.optimizer.zero_grad()
            wrong = self._loss(self.net(features[batch]), left[batch], cut_off[batch])
            wrong.backward()
            self.optimizer.step()
            total += float(wrong.detach()) * len(batch)
        return total / len(left)

    def unseen(self) -> float:
        """Mean loss on what is not learned from."""
        self.net.eval()
        features, left, cut_off = self._stop
        with torch.inference_mode():
            # A ranker's loss grows with the list: lists as long as those it learns from.
            losses = [
                float(self._loss(self.net(features[part]), left[part], cut_off[part])) * len(part)
                for part in torch.arange(len(left)).split(self._options.batch)
            ]
        return sum(losses) / len(left)


def _on(lesson: Lesson, device: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return (
        torch.from_numpy(lesson.features).to(device),
        torch.from_numpy(lesson.left.astype(np.float32)).to(device),
        torch.from_numpy(lesson.cut_off).to(device),
    )


class _Checkpoint:
    """The state of training in a safetensors file, with what it is about in the header."""

    def __init__(self, path: Path | None, options: TrainOptions, train: Lesson) -> None:
        self._path = path
        digest = blake2b(json.dumps(asdict(options), sort_keys=True).encode(), digest_size=16)
        digest.update(train.features[:: max(len(train.left) // 64, 1)].tobytes())
        digest.update(train.left.tobytes())
        self._about = digest.hexdigest()

    def save(self, trainer: _Trainer, kept: Head, best: float, since: int, epochs: int) -> None:
        if self._path is None:
            return
        tensors = {f"net.{name}": value for name, value in trainer.net.state_dict().items()}
        state = trainer.optimizer.state_dict()["state"]
        for i, moments in state.items():
            tensors |= {f"adam.{i}.{name}": value for name, value in moments.items()}
        for name, value in kept.tensors().items():
            tensors[f"best.{name}"] = torch.from_numpy(value)
        progress = {"about": self._about, "best": best, "since": since, "epochs": epochs}
        temporary = self._path.with_suffix(".part")
        save_file(
            {name: value.contiguous().clone() for name, value in tensors.items()},
            temporary,
            metadata={"progress": json.dumps(progress)},
        )
        temporary.replace(self._path)

    def load(self, trainer: _Trainer) -> tuple[float | None, int, int]:
        """Go on where it stopped; return the least loss, epochs since then, and epochs done."""
        if self._path is None or not self._path.is_file():
            return None, 0, 0
        try:
            with safe_open(self._path, framework="pt") as file:
                progress: dict[str, Any] = json.loads((file.metadata() or {})["progress"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise ModelError(f"{self._path}: {error}; delete it to begin anew") from None
        if progress["about"] != self._about:
            return None, 0, 0  # of other data or options
        net = {n.removeprefix("net."): t for n, t in tensors.items() if n.startswith("net.")}
        trainer.net.load_state_dict(net)
        adam = trainer.optimizer.state_dict()
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("adam."):
                _, i, what = name.split(".")
                moments.setdefault(int(i), {})[what] = value
        trainer.optimizer.load_state_dict({**adam, "state": moments})
        self._kept = {
            n.removeprefix("best."): t.numpy() for n, t in tensors.items() if n.startswith("best.")
        }
        return progress["best"], progress["since"], progress["epochs"]

    def best(self, net: HeadNet) -> Head:
        """Return the best head so far, of the checkpoint that was loaded."""
        from slosched.predictors.head import head_from

        return head_from(net.kind, self._kept)
