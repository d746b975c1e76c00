"""Measured step times from a table, as SplitwiseSim publishes them."""

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from statistics import median

from slosched.calibrate.observation import Observation, Regime
from slosched.core.errors import ConfigError

COLUMNS = (
    "model", "hardware", "tensor_parallel", "prompt_size", "batch_size", "token_size",
    "prompt_time", "token_time",
)  # fmt: skip
_NAMES, _COUNTS, _TIMES = COLUMNS[:3], COLUMNS[3:6], COLUMNS[6:]


@dataclass(frozen=True, slots=True)
class Row:
    """Some requests that were served together from begin to end.

    Parameters
    ----------
    names
        Model, hardware and tensor_parallel, as the table has them.
    prompt, batch, output
        Tokens of each prompt, how many there were, and tokens of each answer.
    prompt_s, token_s
        Seconds until all had their first token, in one step; and for each token after it.
    """

    names: tuple[str, ...]
    prompt: int
    batch: int
    output: int
    prompt_s: float
    token_s: float


def read_table(path: Path) -> list[Row]:
    """Read a CSV table with the columns of `COLUMNS`, in any order; others are ignored.

    Raises
    ------
    ConfigError
        At the first line that is wrong; the text starts with file and line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise ConfigError(f"{path}:1: no column {', '.join(missing)}")
            return [_row(fields, f"{path}:{reader.line_num}") for fields in reader]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    except csv.Error as error:
        raise ConfigError(f"{path}: is no CSV table: {error}") from None


def choose(rows: Sequence[Row], wanted: Mapping[str, str | None], path: Path) -> list[Row]:
    """Take the rows of one model, hardware and tensor_parallel.

    Parameters
    ----------
    wanted
        What each is to be; None if the table has but one.

    Raises
    ------
    ConfigError
        If there are none, or several to choose from.
    """
    for place, name in enumerate(_NAMES):
        option, value = f"--{name.replace('_', '-')}", wanted[name]
        there = sorted({row.names[place] for row in rows})
        if value is not None and value not in there:
            raise ConfigError(
                f"{option}: {path} has no {value!r}, only {', '.join(there) or 'its heading'}"
            )
        if value is None and len(there) != 1:
            raise ConfigError(f"{option}: {path} has {len(there)}, name one: {', '.join(there)}")
        chosen = value or there[0]
        rows = [row for row in rows if row.names[place] == chosen]
    return list(rows)


def observations(rows: Sequence[Row], most: int) -> tuple[list[Observation], list[Observation]]:
    """Turn rows into observations: those of steps that the engine takes, and those of larger ones.

    Repeated measurements of one thing are one observation, their median: the table has some
    steps much more often than others. A step of decoding has, on average, contexts of the prompt
    and half of the answer.

    Parameters
    ----------
    most
        Prompt tokens of the largest step that counts.
    """
    prompts: dict[tuple[int, int], list[float]] = defaultdict(list)
    decodes: dict[tuple[int, int, int], list[float]] = defaultdict(list)
    for row in rows:
        prompts[row.prompt, row.batch].append(row.prompt_s)
        decodes[row.prompt, row.batch, row.output].append(row.token_s)
    usual: list[Observation] = []
    larger: list[Observation] = []
    for (prompt, batch), seconds in sorted(prompts.items()):
        what = f"{batch} x {prompt} tokens"
        tokens = prompt * batch
        observed = Observation(Regime.prefill, what, 1, 1, tokens, 0, 0, 0, median(seconds))
        (usual if tokens <= most else larger).append(observed)
    for (prompt, batch, output), seconds in sorted(decodes.items()):
        what = f"{batch} x {prompt} + {output} tokens"
        context = batch * (prompt + output / 2)
        observed = Observation(Regime.decode, what, 1, 0, 0, batch, context, 0, median(seconds))
        usual.append(observed)
    return usual, larger


def _row(fields: Mapping[str, str | None], place: str) -> Row:
    def number(name: str, least: float) -> float:
        try:
            value = float(fields[name] or "")
        except ValueError:
            value = float("nan")
        if not (isfinite(value) and value >= least):
            raise ConfigError(f"{place}: {name} must be a number, got {fields[name]!r}")
        return value

    prompt, batch, output = (int(number(name, 1)) for name in _COUNTS)
    prompt_ms, token_ms = (number(name, 1e-9) for name in _TIMES)
    names = tuple(fields[name] or "" for name in _NAMES)
    return Row(names, prompt, batch, output, prompt_ms / 1e3, token_ms / 1e3)
