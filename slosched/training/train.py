"""From answers to a model folder: split, read, train, calibrate, try, write."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from shutil import copytree
from typing import Any, Protocol

import numpy as np

from slosched.core.errors import ModelError
from slosched.core.types import FloatArray
from slosched.predictors.encoder import Encoder, Runtime, open_encoder
from slosched.predictors.folder import ADAPTER, TUNED, Description, Reads, save
from slosched.predictors.head import Head, head_from
from slosched.predictors.model import PROBE, LengthModel, features
from slosched.predictors.sketch import BINS, bin_of
from slosched.training.card import card
from slosched.training.conformal import calibrate
from slosched.training.cuts import Cuts, every_so_often
from slosched.training.embeddings import EmbeddingCache
from slosched.training.evaluate import evaluate
from slosched.training.examples import Example, Split, recounted, split
from slosched.training.options import TrainOptions

# Options that an encoder's tuning does not depend on.
_HEAD_ALONE = {"reads", "every", "thin", "epochs", "patience", "batch"}
_SMOOTH = 0.5  # answers that each bin of `usual` starts with


class Told(Protocol):
    """Hears how training goes."""

    def begin(self, text: str, units: int) -> None:
        """Something begins that has so many units."""
        ...

    def tick(self, more: int) -> None:
        """So many more units are done."""
        ...


@dataclass(frozen=True, slots=True)
class Setup:
    """Where everything is.

    Parameters
    ----------
    encoder
        Hub name or folder.
    output
        Folder of the model to write.
    cache
        Folder of embeddings, tuned encoders and checkpoints.
    data
        What the examples are, for the card.
    encoder_name
        What the model calls its encoder, if not by `encoder`.
    recount
        Whether lengths are to be counted anew, by the encoder's tokenizer.
    device
        Of torch.
    """

    encoder: str
    output: Path
    cache: Path
    data: str
    encoder_name: str | None = None
    recount: bool = False
    runtime: Runtime = "auto"
    device: str = "cpu"
    threads: int = 1


def train(
    examples: Sequence[Example], options: TrainOptions, setup: Setup, told: Told
) -> dict[str, Any]:
    """Train a model and write its folder; return its metrics on examples that it never saw.

    Raises
    ------
    ModelError
        If there is too little to learn from, or the encoder cannot be loaded.
    """
    from slosched.training.fit_head import fit_head  # brings torch
    from slosched.training.net import widened

    if setup.recount:
        told.begin("counting tokens", 1)
        examples = recounted(examples, _counter(setup, options))
    parts = split(examples, options.seed, options.answers_per_conversation)
    tuned = _tuned(options, setup, parts, told) if options.tune_epochs else None
    own = tuned / TUNED if tuned else None
    encoder = open_encoder(
        setup.encoder if own is None or options.adapter_rank else str(own),
        runtime=setup.runtime,
        adapter=own if options.adapter_rank else None,
        layers=options.layers,
        max_tokens=options.max_tokens,
        pooling=options.pooling,
        threads=setup.threads,
        device=setup.device,
    )
    # The same name may be another encoder tomorrow; what it says of a text tells.
    [probe] = encoder.encode([PROBE])
    reader = EmbeddingCache(
        setup.cache / "embeddings", encoder, f"{probe.tobytes().hex()}:{options.max_tokens}"
    )
    shown = {part: _cuts(getattr(parts, part), options) for part in ("train", "stop", "calibrate")}
    read = {part: _features(cuts, options, reader, part, told) for part, cuts in shown.items()}
    told.begin("training the head", options.epochs)
    start = None
    if tuned:
        start = widened(_head(options, tuned), read["train"], encoder.dimension)
    head = fit_head(
        options,
        _lesson(read["train"], shown["train"]),
        _lesson(read["stop"], shown["stop"]),
        start=start,
        device=setup.device,
        checkpoint=_checkpoint(setup),
        told=lambda _: told.tick(1),
    )
    model = _calibrated(options, setup, reader, head, shown["calibrate"], read["calibrate"], parts)
    told.begin("trying it on answers that it never saw", 1)
    metrics = evaluate(model, parts.test, [example.output_tokens for example in parts.train])
    _write(model, options, setup, parts, metrics, tuned)
    return metrics


def find_device(wanted: str) -> str:
    """Return the device of torch to train on; "auto" stands for a GPU if there is one.

    Raises
    ------
    ModelError
        If torch is not installed, or has no such device.
    """
    if find_spec("torch") is None:
        raise ModelError("training needs torch: pip install 'slosched[predict]'")
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=wanted)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"--device {wanted}: {str(error).splitlines()[0]}") from None
    return wanted


def _counter(setup: Setup, options: TrainOptions) -> Callable[[Sequence[str]], list[int]]:
    return open_encoder(setup.encoder, runtime=setup.runtime, max_tokens=options.max_tokens).count


def _cuts(examples: Sequence[Example], options: TrainOptions) -> Cuts:
    return every_so_often(examples, options.reads, options.every, options.seed, thin=options.thin)


def _lesson(read: Any, cuts: Cuts) -> Any:
    from slosched.training.fit_head import Lesson

    return Lesson(read, cuts.left, cuts.cut_off)


def _features(
    cuts: Cuts, options: TrainOptions, reader: EmbeddingCache, part: str, told: Told
) -> Any:
    told.begin(f"reading {len(cuts)} texts to {part} on", len(cuts))
    heard = _Heard(reader, told)
    return features(options.reads, heard, cuts.said, cuts.input_tokens.tolist())


class _Heard:
    """A reader whose progress is told."""

    def __init__(self, reader: EmbeddingCache, told: Told) -> None:
        self._reader, self._told = reader, told

    @property
    def dimension(self) -> int:
        return self._reader.dimension

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has in all."""
        return self._reader.count(texts)

    def encode(self, texts: Sequence[str], last: int | None = None) -> Any:
        return self._reader.encode(texts, last, self._told.tick)


def _tuned(options: TrainOptions, setup: Setup, parts: Split, told: Told) -> Path:
    """Tune the encoder, unless the same was done before."""
    from slosched.training.fine_tune import fine_tune, steps_of

    # Where answers are read by themselves, prompts are what an encoder has most to learn about.
    reads: Reads = "joint" if options.reads == "joint" else "prompt"
    cuts = _cuts(parts.train, replace(options, reads=reads))
    counts = {name: value for name, value in asdict(options).items() if name not in _HEAD_ALONE}
    digest = blake2b(f"{setup.encoder}:{counts}:{len(cuts)}".encode(), digest_size=8)
    digest.update(cuts.left.tobytes())
    digest.update(cuts.cut_off.tobytes())
    folder = setup.cache / "encoders" / digest.hexdigest()
    if folder.is_dir():
        return folder
    told.begin("tuning the encoder", steps_of(options, len(cuts)))
    partial = folder.with_suffix(".part")
    fine_tune(setup.encoder, options, cuts, partial, device=setup.device, told=lambda: told.tick(1))
    partial.replace(folder)
    return folder


def _head(options: TrainOptions, tuned: Path) -> Head:
    from safetensors.numpy import load_file

    from slosched.training.fine_tune import HEAD

    return head_from(options.head, load_file(tuned / HEAD))


def _checkpoint(setup: Setup) -> Path:
    setup.cache.mkdir(parents=True, exist_ok=True)
    name = blake2b(str(setup.output.resolve()).encode(), digest_size=8).hexdigest()
    return setup.cache / f"head-{name}.safetensors"


def _calibrated(
    options: TrainOptions,
    setup: Setup,
    reader: Encoder,
    head: Head,
    cuts: Cuts,
    read: Any,
    parts: Split,
) -> LengthModel:
    description = Description(
        encoder=TUNED
        if options.tune_epochs and not options.adapter_rank
        else setup.encoder_name or setup.encoder,
        dimension=reader.dimension,
        pooling=options.pooling,
        max_tokens=options.max_tokens,
        head=options.head,
        reads=options.reads,
        every=0 if options.reads == "prompt" else options.every,
        layers=options.layers,
    )
    calibration = calibrate(
        options.head, head.outputs(read), cuts.produced, cuts.left, cuts.cut_off
    )
    return LengthModel(description, reader, head, calibration, _usual(parts.train))


def _usual(examples: Sequence[Example]) -> FloatArray:
    counts = np.full(BINS, _SMOOTH)
    for example in examples:
        counts[bin_of(example.output_tokens)] += 1
    likely: FloatArray = counts / counts.sum()
    return likely


def _write(
    model: LengthModel,
    options: TrainOptions,
    setup: Setup,
    parts: Split,
    metrics: dict[str, Any],
    tuned: Path | None,
) -> None:
    tensors: dict[str, Any] = {
        **model.head.tensors(),
        **model.calibration.tensors(),
        "usual": model.usual,
        "probe": model.encoder.encode([PROBE])[0],
    }
    text = card(model.description, options, setup, parts, metrics)
    try:
        if tuned is not None:
            place = ADAPTER if options.adapter_rank else TUNED
            copytree(tuned / TUNED, setup.output / place, dirs_exist_ok=True)
        save(setup.output, model.description, tensors, text)
    except OSError as error:
        raise ModelError(f"{setup.output}: {error.strerror}") from None
