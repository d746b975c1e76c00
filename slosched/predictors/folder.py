"""A trained predictor on disk: `model.safetensors`, `config.json` and a card for people."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from slosched.core.errors import ModelError
from slosched.predictors.encoder import Pooling
from slosched.predictors.head import HeadKind

FORMAT = 1
TENSORS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
# Folders in the model's: of an encoder that was trained with it, or of an adapter for one.
TUNED, ADAPTER = "encoder", "adapter"
SHIPPED = Path(__file__).parent / "models"
Reads = Literal["prompt", "joint", "apart"]


@dataclass(frozen=True, slots=True)
class Description:
    """What a model's tensors are, and for which encoder.

    Parameters
    ----------
    encoder
        Hub name or folder of the encoder that it was trained with; `TUNED` if it comes along.
    dimension, pooling, max_tokens
        Of that encoder's embeddings.
    head
        What the head says.
    reads
        "prompt" alone; prompt and answer so far as one text, "joint"; or each by itself, "apart".
    every
        Output tokens after which it wants to read again; 0 for never.
    layers
        Of the encoder that are computed, the first; 0 for all.
    """

    encoder: str
    dimension: int
    pooling: Pooling
    max_tokens: int
    head: HeadKind
    reads: Reads
    every: int = 0
    layers: int = 0
    format: int = FORMAT


def shipped() -> list[str]:
    """Names of the models that come with slosched."""
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{CONFIG}"))


def locate(model: str) -> Path:
    """Find a model's folder, by path or as a shipped one's name; ModelError if there is none."""
    folder = Path(model).expanduser()
    for candidate in (folder, SHIPPED / model):
        if (candidate / CONFIG).is_file():
            return candidate
    if folder.is_dir():
        raise ModelError(f"{model}: has no {CONFIG}: `slosched train` writes such folders")
    known = ", ".join(shipped()) or "none"
    raise ModelError(f"{model}: no such folder, nor a model that is shipped ({known})")


def describe(folder: Path) -> Description:
    """Read a model's description; ModelError if it is none, or of another format."""
    path = folder / CONFIG
    try:
        known: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"{path}: {error}") from None
    names = {field.name for field in fields(Description)}
    if not isinstance(known, dict) or not names >= known.keys():
        raise ModelError(f"{path}: must be an object with the keys {', '.join(sorted(names))}")
    if known.get("format") != FORMAT:
        raise ModelError(f"{path}: format must be {FORMAT}, got {known.get('format')!r}")
    try:
        made = Description(**known)
    except TypeError as error:
        raise ModelError(f"{path}: {error}") from None
    for name, choices in (("head", HeadKind), ("reads", Reads), ("pooling", Pooling)):
        if getattr(made, name) not in get_args(choices):
            raise ModelError(
                f"{path}: {name} must be one of {', '.join(get_args(choices))}, "
                f"got {getattr(made, name)!r}"
            )
    return made


def load_tensors(folder: Path) -> dict[str, NDArray[Any]]:
    """Read a model's tensors; ModelError if the file is not whole."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = folder / TENSORS
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: {error}") from None


def save(
    folder: Path, description: Description, tensors: Mapping[str, NDArray[Any]], card: str
) -> None:
    """Write a model's three files into a folder, which is made; the description comes last."""
    from safetensors.numpy import save as encode

    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        TENSORS: encode({name: np.ascontiguousarray(value) for name, value in tensors.items()}),
        CARD: card.encode(),
        CONFIG: json.dumps(asdict(description), indent=2).encode() + b"\n",
    }
    for name, content in contents.items():
        temporary = folder / f".{name}.part"
        temporary.write_bytes(content)
        temporary.replace(folder / name)
