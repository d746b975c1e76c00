"""A run in numbers, under the names that `vllm bench serve` uses, and ours."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Any

import numpy as np

from slosched.core.request import TracedRequest
from slosched.core.types import BoolArray, FloatArray
from slosched.sim.records import Outcomes, Records


def summarize(records: Records) -> dict[str, Any]:
    """Sum a run in virtual time up: what became of the requests, and what the engine did."""
    return {
        **sum_up(records),
        "steps": records.steps,
        "preemptions": records.preemptions,
        "plan_failures": records.plan_failures,
        "plans": records.plans,
        "mean_plan_age_ms": records.plan_age.mean * 1e3,
        "max_plan_age_ms": records.plan_age.most * 1e3,
        "margin": records.margin,
    }


def sum_up(records: Outcomes) -> dict[str, Any]:
    """Sum up what became of requests.

    Returns
    -------
    Counts, rates a second, times in ms (mean, median, std, p99 of ttft, tpot, itl, e2el), and
    attainment from 0 to 1, in all and by class. A mean over nobody is None.
    """
    done, met = records.finished, records.attained
    weight = np.array([traced.request.slo.weight for traced in records.trace])
    prompts = np.array([traced.request.input_tokens for traced in records.trace])
    tokens = records.output_tokens
    duration = records.duration or 1.0
    groups: dict[str, list[int]] = defaultdict(list)
    for i, traced in enumerate(records.trace):
        groups[traced.request.slo_class].append(i)
    return {
        "duration": records.duration,
        "completed": int(done.sum()),
        "failed": int((~done).sum()),
        "total_input_tokens": int(prompts[done].sum()),
        "total_output_tokens": int(tokens[done].sum()),
        "request_throughput": float(done.sum() / duration),
        "request_goodput": float(met.sum() / duration),
        "output_throughput": float(tokens[done].sum() / duration),
        "total_token_throughput": float((prompts + tokens)[done].sum() / duration),
        **_times(records, done),
        **records.itl.spread("itl"),
        "slo_attainment": _share(met),
        "weighted_attainment": float((weight * met).sum() / weight.sum()) if len(met) else None,
        "per_class": {
            name: _class(records, np.array(rows)) for name, rows in sorted(groups.items())
        },
    }


def _class(records: Outcomes, rows: Any) -> dict[str, Any]:  # noqa: ANN401 - any index array
    member = np.zeros(len(records.trace), dtype=np.bool_)
    member[rows] = True
    return {
        "requests": len(rows),
        "slo_attainment": _share(records.attained[rows]),
        **_times(records, member & records.finished),
    }


def _times(records: Outcomes, rows: BoolArray) -> dict[str, float | None]:
    return {
        **_spread("ttft", records.ttft[rows]),
        **_spread("tpot", records.tpot[rows]),
        **_spread("e2el", records.e2e[rows]),
    }


def _spread(name: str, seconds: FloatArray) -> dict[str, float | None]:
    ms = seconds * 1e3
    some = len(ms) > 0
    return {
        f"mean_{name}_ms": float(ms.mean()) if some else None,
        f"median_{name}_ms": float(np.median(ms)) if some else None,
        f"std_{name}_ms": float(ms.std()) if some else None,
        f"p99_{name}_ms": float(np.percentile(ms, 99)) if some else None,
    }


def _share(met: BoolArray) -> float | None:
    return float(met.mean()) if len(met) else None


def per_request_arrays(records: Outcomes) -> dict[str, list[Any]]:
    """List what happened to each request of the trace; times in ms, None where there is none."""
    return {
        **described(records.trace),
        "arrivals_ms": _or_none(records.arrival),
        "output_lens": records.output_tokens.tolist(),
        "ttfts_ms": _or_none(records.ttft),
        "tpots_ms": _or_none(records.tpot),
        "e2els_ms": _or_none(records.e2e),
        "slo_met": [bool(met) for met in records.attained],
    }


def described(trace: Sequence[TracedRequest]) -> dict[str, list[Any]]:
    """List what each request is and asks for; limits in ms, None for those that it has not."""
    slos = [traced.request.slo for traced in trace]
    return {
        "request_ids": [traced.request.request_id for traced in trace],
        "slo_classes": [traced.request.slo_class for traced in trace],
        "input_lens": [traced.request.input_tokens for traced in trace],
        "output_lens": [traced.output_tokens for traced in trace],
        "ttft_limits_ms": _or_none(slo.ttft for slo in slos),
        "tpot_limits_ms": _or_none(slo.tpot for slo in slos),
        "e2e_limits_ms": _or_none(slo.e2e for slo in slos),
    }


def _or_none(seconds: Iterable[float]) -> list[float | None]:
    return [float(s * 1e3) if isfinite(s) else None for s in seconds]
