"""Result files, as `simulate` and `bench` write them -> runs."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from slosched.core.errors import SloschedError
from slosched.report.arrays import Arrays
from slosched.report.results import Result
from slosched.report.runs import Run, Runs, distinct
from slosched.report.words import printable

WRITERS = "slosched simulate -o FILE and slosched bench write results"


class ResultError(SloschedError):
    """A file is no result: the text names the file, and the field if there is one."""


def read(paths: Sequence[Path]) -> Runs:
    """Read the runs of all files.

    Raises
    ------
    ResultError
        If a file cannot be read, is no result, or a field of it is missing or wrong.
    """
    return distinct([run for path in paths for run in _runs(path)])


def _runs(path: Path) -> Iterator[Run]:
    document = _document(path)
    if "runs" not in document:
        if "slo_attainment" not in document:
            known = "neither runs nor slo_attainment is in it"
            raise ResultError(f"{path}: is no result, {known}; {WRITERS}")
        yield _run(path, "", document)
        return
    listed = document["runs"]
    if not isinstance(listed, list) or not listed:
        problem = "is empty" if listed == [] else "must be a list of runs"
        raise ResultError(f"{path}: runs: {problem}; {WRITERS}")
    for i in range(len(listed)):
        # Large files are large in memory: what is read is let go of.
        run, listed[i] = listed[i], None
        yield _run(path, f"runs[{i}]", run)


def _document(path: Path) -> dict[str, Any]:
    try:
        document = orjson.loads(path.read_bytes())
    except OSError as error:
        raise ResultError(f"{path}: {error.strerror}") from error
    except orjson.JSONDecodeError as error:
        place = f"{path}:{error.lineno}:{error.colno}"
        raise ResultError(f"{place}: is no JSON: {error.msg}; {WRITERS}") from error
    if not isinstance(document, dict):
        raise ResultError(f"{path}: is no result but a JSON {_kind(document)}; {WRITERS}")
    return document


def _run(path: Path, place: str, raw: Any) -> Run:  # noqa: ANN401 - whatever the file holds
    try:
        result = Result.model_validate(raw)
        told = isinstance(raw, dict) and raw.get("request_ids")
        requests = Arrays.model_validate(raw).requests(result.limit) if told else None
    except ValidationError as error:
        raise ResultError(f"{path}: {_problem(error, place)}") from error
    return Run(result.policy or path.stem, path.name, result, requests)


def _problem(error: ValidationError, place: str) -> str:
    """Say in one line what is wrong first."""
    details = error.errors(include_url=False)[0]
    kind = details["type"]
    if kind == "value_error" and not details["loc"]:
        # Of several fields at once: the text begins with the one at fault.
        return printable(f"{place}{'.' if place else ''}{details['ctx']['error']}")
    for part in details["loc"]:
        place += f"[{part}]" if isinstance(part, int) else f"{'.' if place else ''}{part}"
    if kind == "missing":
        problem = f"is missing; {WRITERS}"
    elif kind == "model_type":
        problem = f"must be a JSON object, got {details['input']!r:.40}"
    elif kind == "value_error":
        problem = str(details["ctx"]["error"])
    else:
        wanted = details["msg"][0].lower() + details["msg"][1:]
        problem = f"{wanted}, got {details['input']!r:.40}"
    return printable(f"{place}: {problem}" if place else problem)


def _kind(document: object) -> str:
    return {list: "list", str: "text", type(None): "null"}.get(type(document), "number")
