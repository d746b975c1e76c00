"""What a search for parameters found, as plain data."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from slosched.config.schema import dump
from slosched.core.request import TracedRequest
from slosched.sim.summary import summarize
from slosched.version import __version__
from slosched.whatif.study import Study, fingerprint
from slosched.whatif.tuning import Comparison, Tuning


def made_with(tuning: Tuning) -> dict[str, str]:
    """Name what scores depend on, for a study that is to go on later."""
    parts = [trace for at_load in (tuning.train, tuning.held_out) for trace in at_load.values()]
    return fingerprint(
        version=__version__,
        configuration=dump(tuning.settings({})),
        parameters=[str(parameter) for parameter in tuning.space],
        loads=list(tuning.train),
        seed=tuning.seed,
        trace=[[_told(traced) for traced in trace] for trace in parts],
    )


def tuning_result(tuning: Tuning, study: Study, comparison: Comparison | None) -> dict[str, Any]:
    """Describe trials, the best of them, and how it does on the held-out part.

    Parameters
    ----------
    comparison
        None if there is nothing to compare, or was no time.
    """
    trials, best, now = study.trials, study.best, tuning.incumbent
    importance = study.importance()
    return {
        "policy": tuning.settings({}).policy.kind,
        "loads": list(tuning.train),
        "requests": {"train": len(_first(tuning.train)), "held_out": len(_first(tuning.held_out))},
        "only_searched": sorted(_classes(_first(tuning.train)) - _classes(_first(tuning.held_out))),
        "space": [str(parameter) for parameter in tuning.space],
        "parameters": {
            parameter.path: {
                "now": now[parameter.path],
                "tuned": best.values.get(parameter.path, now[parameter.path]),
                "importance": importance.get(parameter.path),
            }
            for parameter in tuning.space
        },
        "best": best.number,
        "train": {"now": trials[0].score, "tuned": best.score},
        "held_out": None if comparison is None else _held_out(comparison, list(tuning.held_out)),
        "trials": [
            {
                "number": trial.number,
                "values": dict(trial.values),
                "weighted_attainment": None if trial.scores is None else list(trial.scores),
            }
            for trial in trials
        ],
        "seed": tuning.seed,
        "version": __version__,
        "config": dump(tuning.settings(best.values)),
    }


def _first(at_loads: Mapping[float, Sequence[TracedRequest]]) -> Sequence[TracedRequest]:
    """Return the requests of a part, which are the same at each load but for their times."""
    return next(iter(at_loads.values()))


def kept(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values to put into the configuration, by path; none if they gained nothing."""
    held_out = result["held_out"]
    return _changed(result) if held_out and held_out["difference"] > 0 else {}


def provenance(result: Mapping[str, Any], conclusions: Sequence[str]) -> Iterator[str]:
    """Say where the values of a tuned configuration come from, a line each."""
    files = ", ".join(Path(file).name for file in result["trace"])
    requests, loads = result["requests"], ", ".join(f"{load:g}" for load in result["loads"])
    yield f"slosched {result['version']} tune: {len(result['trials'])} trials on {files},"
    yield (
        f"{requests['train']} requests to search and {requests['held_out']} held out, "
        f"load {loads}, seed {result['seed']}"
    )
    yield from conclusions
    yield "changed:" if kept(result) else "nothing was changed; the best that was found:"
    for path, value in _changed(result).items():
        yield f"  {path}: {_text(result['parameters'][path]['now'])} -> {_text(value)}"
    yield "searched:"
    yield from (f"  {parameter}" for parameter in result["space"])


def _changed(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the best trial that are not those of the configuration, by path."""
    parameters = result["parameters"].items()
    return {path: one["tuned"] for path, one in parameters if one["tuned"] != one["now"]}


def _classes(trace: Sequence[TracedRequest]) -> set[str]:
    return {traced.request.slo_class for traced in trace}


def _told(traced: TracedRequest) -> list[Any]:
    request, slo = traced.request, traced.request.slo
    return [
        request.request_id, request.arrival, request.input_tokens, traced.output_tokens,
        traced.hash_ids, request.slo_class, slo.ttft, slo.tpot, slo.e2e, slo.weight,
    ]  # fmt: skip


def _text(value: object) -> str:
    return json.dumps(value)


def _held_out(comparison: Comparison, loads: Sequence[float]) -> dict[str, Any]:
    difference, low, high = comparison.interval
    return {
        "verdict": comparison.verdict,
        "difference": difference,
        "low": low,
        "high": high,
        "runs": [
            {
                "load": load,
                "now": summarize(before),
                "tuned": summarize(after),
            }
            for load, before, after in zip(loads, comparison.before, comparison.after, strict=True)
        ],
    }
