"""Length predictors: how well they rank and cover, how much better as answers grow, how quick."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import numpy as np
import typer
from common import FOLDER, Json, Measure, Quick, Seed, at_least, at_most, finish, note, run
from sources import AZURE, sharegpt
from synthetic import draw

from slosched import Request, Slo
from slosched.predictors.encoder import open_encoder
from slosched.predictors.history import History
from slosched.training.examples import Example, read_examples
from slosched.training.options import PRESETS, chosen
from slosched.training.train import Setup, find_device
from slosched.training.train import train as train_model

CACHE = FOLDER.parent / ".cache" / "predictors"
PREPARED = FOLDER.parent / ".cache" / "bge-small-en"
TOKENS, BATCH, TEXTS, ROUNDS = 128, 4, 64, 7
LAYERS = 6  # of the encoder, by which the models read that come with slosched
PLACES = (50, 100, 200)
TAU_BAR, SPEED_BAR, LOW, HIGH = 0.45, 15.0, 78.0, 82.0
PAPERS = {
    "slosched": "-",
    "elis": "RMSE 101 tokens from prompts, 34.3 as answers grow (LMSYS, one model's answers)",
    "ltr": "Kendall tau 0.52 (ShareGPT, one model's answers)",
    "ssjf": "Kendall tau 0.635, MAE 71.5 tokens, 124.4 of a constant (LMSYS)",
}


def main(
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="ShareGPT JSON or JSONL; else ShareGPT.")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(metavar="NAME|FOLDER", help="Else what prepare_encoder.py wrote.")
    ] = None,
    preset: Annotated[list[str] | None, typer.Option(help="As often as wanted; all.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=300, help="Conversations or lines of the data.")
    ] = None,
    options: Annotated[
        list[str] | None, typer.Option("--set", metavar="A=B", help="As of slosched train.")
    ] = None,
    seed: Seed = 0,
    quick: Quick = False,
    json: Json = None,
) -> None:
    """Train each preset on ShareGPT, and try it on conversations that it never saw.

    Ours is tuned as the models are that come with slosched, the others as they say. What is read
    once is kept: a second run only trains heads.
    """
    if encoder is None and not (PREPARED / "config.json").exists():
        raise SystemExit(f"error: no encoder in {PREPARED}: scripts/prepare_encoder.py {PREPARED}")
    path = encoder or str(PREPARED)
    source = data or sharegpt()
    examples = read_examples([source], 300 if quick else limit)
    measures, details = [], {}
    for name in preset or ("slosched",) if quick else preset or PRESETS:
        note(f"{name}: {len(examples)} answers")
        made = _trained(name, options or [], examples, path, source, seed, quick=quick)
        details[name] = made
        measures += _measures(name, made)
    measures += _history(400 if quick else 4000)
    measures += _speed(path)
    finish(measures, quick, json, details)


def _trained(
    name: str,
    options: Sequence[str],
    examples: Sequence[Example],
    encoder: str,
    source: Path,
    seed: int,
    *,
    quick: bool,
) -> dict[str, Any]:
    usual = ["tune_epochs=3", f"layers={LAYERS}"] if name == "slosched" else []
    small = ["max_tokens=32", "epochs=3", "tune_epochs=0"] if quick else usual
    setup = Setup(
        encoder=encoder,
        output=CACHE / f"{name}-{seed}",
        cache=CACHE,
        data=source.name,
        recount=source.suffix == ".json",
        device=find_device("auto"),
        threads=0,
    )
    return train_model(examples, chosen(name, [*small, *options], seed), setup, _Told())


class _Told:
    def begin(self, text: str, units: int) -> None:
        note(f"  {text} ({units})")

    def tick(self, more: int) -> None:
        pass


def _measures(name: str, metrics: dict[str, Any]) -> Iterator[Measure]:
    prompts = metrics["prompt_only"]
    yield Measure(f"{name}: published", PAPERS[name])
    first = metrics["by_message"]["first"]
    tau = f"{name}: Kendall tau from prompts, of first messages"
    if name == "slosched":
        yield at_least(tau, first["kendall_tau"], TAU_BAR, "{:.3f}")
    else:
        yield Measure(tau, f"{first['kendall_tau']:.3f}")
    yield Measure(f"{name}: of all messages", f"{prompts['kendall_tau']:.3f}")
    constant = metrics["constant"]
    yield Measure(
        f"{name}: MAE / RMSE from prompts, tokens",
        f"{prompts['mae']:.0f} / {prompts['rmse']:.0f}, "
        f"of a constant {constant['mae']:.0f} / {constant['rmse']:.0f}",
    )
    covered = 100 * prompts["coverage"]
    met = LOW <= covered <= HIGH if name == "slosched" else None
    yield Measure(f"{name}: 80% interval covers, %", f"{covered:.1f}", f"{LOW:g}-{HIGH:g}", met)
    grown = metrics["by_produced"]
    if len(grown) > 1:
        yield from _as_answers_grow(name, grown)


def _as_answers_grow(name: str, grown: dict[str, Any]) -> Iterator[Measure]:
    places = [str(place) for place in (0, *PLACES) if str(place) in grown]
    for what, key in (("those that go on", "rmse"), ("all", "rmse_of_all")):
        errors = [grown[place][key] for place in places]
        falls = bool((np.diff(errors) < 0).all())
        met = falls and errors[-1] <= errors[0] / 2
        yield Measure(
            f"{name}: RMSE after {' / '.join(places)} tokens, of {what}",
            " / ".join(f"{error:.0f}" for error in errors),
            "falls; half at 200",
            met if name == "slosched" else None,
        )


def _history(limit: int) -> Iterator[Measure]:
    """Hold experience, by class, against the mean length so far, as answers of Azure's end."""
    drawn = [(name, record) for name in AZURE for record in draw(AZURE[name], limit)]
    drawn.sort(key=lambda pair: pair[1].time)
    history, total = History(), 0.0
    errors: dict[int, list[tuple[float, float]]] = {}
    for number, (name, record) in enumerate(drawn):
        request, length = Request(str(number), 0.0, 1, Slo(), name), record.output_tokens
        usual = total / max(number, 1)
        for out in (place for place in (0, *PLACES) if place < length):
            expected = float(history.remaining([request], np.array([out])).mean())
            wrong = expected - (length - out), max(usual - out, 1.0) - (length - out)
            errors.setdefault(out, []).append(wrong)
        history.observe(request, length)
        total += length
    for out, pairs in errors.items():
        ours, constant = np.sqrt(np.mean(np.square(pairs), axis=0))
        yield at_most(
            f"history: RMSE after {out} tokens against a constant, Azure's two, %",
            100 * float(ours / constant),
            100.0,
        )


def _speed(encoder: str) -> Iterator[Measure]:
    """Milliseconds to read one prompt on one core, some together, in the median of rounds."""
    texts = ["time after time " * TOKENS] * TEXTS
    readers = {
        layers: open_encoder(encoder, max_tokens=TOKENS, threads=1, layers=layers)
        for layers in (LAYERS, 0)
    }
    rounds: dict[int, list[float]] = {layers: [] for layers in readers}
    for _ in range(ROUNDS):
        for layers, reader in readers.items():
            started = perf_counter()
            for begin in range(0, TEXTS, BATCH):
                reader.encode(texts[begin : begin + BATCH])
            rounds[layers].append(1e3 * (perf_counter() - started) / TEXTS)
    name = f"ms to read a prompt of {TOKENS} tokens on one core, {BATCH} together"
    ours, all_layers = (float(np.median(rounds[layers])) for layers in (LAYERS, 0))
    yield at_most(f"{name}, by {LAYERS} layers as our models", ours, SPEED_BAR)
    yield Measure(f"{name}, by all layers", f"{all_layers:.1f}")


if __name__ == "__main__":
    run(main)
