"""How a predictor is trained, and the presets: ours, and one for each published system."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any, Literal

import yaml
from pydantic import TypeAdapter, ValidationError

from slosched.core.errors import ConfigError
from slosched.predictors.encoder import Pooling
from slosched.predictors.folder import Reads
from slosched.predictors.head import FIVE_CLASSES, MANY_CLASSES, HeadKind
from slosched.training.examples import ANSWERS_PER_CONVERSATION


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What is learned, and how.

    Parameters
    ----------
    head
        What the model says, see `predictors.head.Head`.
    reads
        What it reads, see `predictors.folder.Description`.
    every, thin
        Output tokens between two places where answers are cut; and whether these get rarer with
        the length of the answer, see `cuts.every_so_often`.
    answers_per_conversation
        At most, drawn at random; long conversations would outweigh all others.
    hidden
        Widths of the layers between embedding and output.
    dropout
        Share of each hidden layer that is left out at random while training.
    loss, scale
        Of a regression: "l1" or "mse", of the logarithm of tokens or of tokens.
    cuts
        Tokens between the classes of a head of "classes" or "ordinal".
    bucket
        Of a ranker: answers are of the same length if they are in the same so many tokens.
    learning_rate, weight_decay, batch, epochs
        Of Adam (AdamW with decay), for the head.
    patience
        Epochs without a better loss, on examples that are not learned from, before it stops.
    tune_epochs, tune_learning_rate, tune_batch
        Of the encoder itself, before the head; 0 epochs to leave it frozen.
    adapter_rank, adapter_layers
        Of the two matrices that each of the last so many layers gets to be tuned by (LoRA, arXiv
        2106.09685): a small file beside the encoder. Rank 0 to tune all of its weights.
    pooling, max_tokens
        How texts are read.
    layers
        Of the encoder that are computed, the first; 0 for all. Half of them take half of the time.
    seed
        Of the split, of cuts and of weights.
    """

    head: HeadKind = "ordinal"
    reads: Reads = "apart"
    every: int = 50
    thin: bool = True
    answers_per_conversation: int = ANSWERS_PER_CONVERSATION
    hidden: tuple[int, ...] = (256,)
    dropout: float = 0.5
    loss: Literal["l1", "mse"] = "l1"
    scale: Literal["log", "tokens"] = "log"
    cuts: tuple[int, ...] = MANY_CLASSES
    bucket: int = 10
    learning_rate: float = 3e-4
    weight_decay: float = 1e-2
    batch: int = 256
    epochs: int = 60
    patience: int = 6
    tune_epochs: int = 0
    tune_learning_rate: float = 5e-4
    tune_batch: int = 32
    adapter_rank: int = 16
    adapter_layers: int = 6
    pooling: Pooling = "all"
    max_tokens: int = 128
    layers: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        counts = ("every", "answers_per_conversation", "bucket", "batch")
        for name in (*counts, "epochs", "patience", "adapter_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "tune_learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be greater than 0, got {getattr(self, name)}")
        for name in ("adapter_rank", "tune_epochs", "layers"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be from 0 to below 1, got {self.dropout}")
        if list(self.cuts) != sorted(set(self.cuts)) or not self.cuts or self.cuts[0] < 1:
            raise ValueError(f"cuts must be ascending and at least 1, got {self.cuts}")


PRESETS: Mapping[str, TrainOptions] = {
    "slosched": TrainOptions(),
    # arXiv 2505.09142: a frozen encoder, eight layers, the remaining tokens.
    "elis": TrainOptions(
        head="regression", reads="joint", thin=False, hidden=(1024,) * 7, dropout=0.0, loss="mse",
        scale="tokens", learning_rate=1e-4, weight_decay=0.0, batch=16, epochs=16,
        patience=16, pooling="mean", max_tokens=256,
    ),
    # arXiv 2408.15792: a ranker, tuned from its first layer to its last.
    "ltr": TrainOptions(
        head="ranking", reads="prompt", hidden=(), dropout=0.0, learning_rate=1e-3,
        weight_decay=0.01, batch=32, epochs=5, patience=5, tune_epochs=5,
        tune_learning_rate=2e-5, adapter_rank=0, pooling="mean", max_tokens=512,
    ),
    # arXiv 2404.08509: classes of lengths, the encoder frozen after half of the epochs.
    "ssjf": TrainOptions(
        head="classes", cuts=FIVE_CLASSES, reads="prompt", hidden=(128, 128), dropout=0.0,
        learning_rate=1e-4, weight_decay=0.0, batch=16, epochs=3, patience=3, tune_epochs=3,
        tune_learning_rate=1e-5, adapter_rank=0, pooling="cls", max_tokens=512,
    ),
}  # fmt: skip


def chosen(preset: str, overrides: Sequence[str], seed: int = 0) -> TrainOptions:
    """Return a preset with some options changed, each as `name=value` with the value in YAML.

    Raises
    ------
    ConfigError
        If there is no such preset or option, or a value is out of bounds.
    """
    if preset not in PRESETS:
        raise ConfigError(f"--preset: {_unknown(preset, PRESETS)}")
    values: dict[str, Any] = {**asdict(PRESETS[preset]), "seed": seed}
    for text in overrides:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--set {text}: must be name=value")
        if name not in values:
            raise ConfigError(f"--set {text}: {_unknown(name, values)}")
        try:
            values[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f"--set {text}: {value!r} is no YAML") from None
    try:
        return TypeAdapter(TrainOptions).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        problem = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"--set {where}: {problem}" if where else f"--set: {problem}") from None


def _unknown(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, list(known), 1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
    return f"no {name!r}, {hint}"
