"""What a server says of itself: its models, its version, its metrics."""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches

import orjson

from slosched.client.connection import Connection
from slosched.core.errors import ServerError

_SAMPLE = re.compile(r"(?m)^([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_SOLVES = "slosched_solve_seconds_count"


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model of a server.

    Parameters
    ----------
    name
        As requests name it.
    owner
        What `owned_by` says; vLLM says `vllm`.
    max_model_len
        Tokens of prompt and answer together; None if it does not say.
    version
        vLLM's; "" if it does not say.
    """

    name: str
    owner: str
    max_model_len: int | None
    version: str

    @property
    def is_vllm(self) -> bool:
        """Whether it takes what only vLLM does."""
        return self.owner == "vllm"


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of a Prometheus page."""

    name: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


async def served_model(connection: Connection, name: str | None = None) -> ServedModel:
    """Ask for a model by name, or for the first.

    Raises
    ------
    ServerError
        If nobody answers, or there is no such model.
    """
    page = await connection.get("/v1/models")
    try:
        models = {str(model["id"]): model for model in orjson.loads(page)["data"]}
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise ServerError(f"{connection.url}/v1/models: is no list of models") from error
    if not models:
        raise ServerError(f"{connection.url}/v1/models: serves no model")
    chosen = next(iter(models)) if name is None else name
    if chosen not in models:
        close = get_close_matches(chosen, models, 1)
        hint = f"did you mean {close[0]}?" if close else f"served: {', '.join(models)}"
        raise ServerError(f"--model: {connection.url} serves no {chosen!r}, {hint}")
    length = models[chosen].get("max_model_len")
    version = ""
    with suppress(ServerError, orjson.JSONDecodeError, AttributeError):  # not every server has one
        version = str(orjson.loads(await connection.get("/version")).get("version", ""))
    owner = str(models[chosen].get("owned_by", ""))
    return ServedModel(chosen, owner, length if isinstance(length, int) else None, version)


async def metrics(connection: Connection) -> list[Sample]:
    """Read the server's Prometheus page; empty where there is none."""
    try:
        page = (await connection.get("/metrics")).decode(errors="replace")
    except ServerError:
        return []
    found = []
    for name, labels, value in _SAMPLE.findall(page):
        with suppress(ValueError):
            found.append(Sample(name, float(value), dict(_LABEL.findall(labels))))
    return found


def total(samples: list[Sample], name: str) -> float | None:
    """Sum a metric up over its labels; None if it is not there."""
    values = [sample.value for sample in samples if sample.name == name]
    return sum(values) if values else None


def policy_in_force(before: list[Sample], after: list[Sample]) -> str:
    """Name the policy by which slosched planned in between; "" where it did not."""
    made: dict[str, float] = {}
    for sign, samples in ((-1, before), (1, after)):
        for sample in samples:
            if sample.name == _SOLVES:
                solver = sample.labels.get("solver", "")
                made[solver] = made.get(solver, 0.0) + sign * sample.value
    most = max(made, key=made.__getitem__, default="")
    return most if made.get(most, 0.0) > 0 else ""
