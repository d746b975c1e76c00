"""Results for tests: real simulations of requests that are drawn by a seed."""

from collections.abc import Sequence
from copy import deepcopy
from functools import cache
from math import inf
from typing import Any

import numpy as np
import orjson

from slosched import EngineLimits, Request, Slo, TracedRequest
from slosched.core.protocols import Policy
from slosched.planner import Planner
from slosched.policies.fcfs import Fcfs
from slosched.policies.guard import NoGuard
from slosched.policies.sjf import Sjf
from slosched.predictors.oracle import Oracle
from slosched.report.arrays import Arrays
from slosched.report.requests import Requests
from slosched.sim.engine import SimulatedEngine
from slosched.sim.records import Records
from slosched.sim.summary import per_request_arrays, summarize
from tests.strategies import LATENCY

CLASSES = {
    "chat": Slo(ttft=1.0, tpot=0.05),
    "code": Slo(e2e=4.0),
}
POLICIES: dict[str, Policy] = {"fcfs": Fcfs(), "sjf": Sjf()}
LIMITS = EngineLimits(max_num_seqs=4, max_num_batched_tokens=256, block_size=16, num_kv_blocks=200)


def simulated(
    trace: Sequence[TracedRequest], policy: Policy, limits: EngineLimits = LIMITS
) -> Records:
    lengths = {t.request.request_id: t.output_tokens for t in trace}
    planner = Planner(policy, Oracle(lengths=lengths), NoGuard(), Fcfs())
    return SimulatedEngine(planner, limits, LATENCY).run(trace)


def requests(records: Records) -> Requests:
    """Read what `simulate --requests` writes."""
    text = orjson.dumps(per_request_arrays(records))
    return Arrays.model_validate(orjson.loads(text)).requests(lambda *_: inf)


def drawn(load: float, n: int) -> list[TracedRequest]:
    """Draw a trace; the last request fits no cache, and fails."""
    rng = np.random.default_rng(7)
    times = np.cumsum(rng.exponential(0.4, n)) / load
    names = rng.choice(list(CLASSES), n)
    prompts, answers = rng.integers(1, 500, n), rng.integers(1, 60, n)
    prompts[-1] = 16 * LIMITS.num_kv_blocks
    return [
        TracedRequest(
            Request(f"r{i}", float(at), int(prompt), CLASSES[name], str(name)), int(answer)
        )
        for i, (at, name, prompt, answer) in enumerate(
            zip(times, names, prompts, answers, strict=True)
        )
    ]


def result(
    policies: Sequence[str] = ("fcfs", "sjf"),
    loads: Sequence[float] = (1.0, 2.0),
    n: int = 60,
    *,
    per_request: bool = True,
) -> dict[str, Any]:
    """Return what `simulate` writes."""
    runs = [_run(policy, load, n, per_request) for load in loads for policy in policies]
    return deepcopy({"runs": runs})


@cache
def _run(policy: str, load: float, n: int, per_request: bool) -> dict[str, Any]:
    records = simulated(drawn(load, n), POLICIES[policy])
    arrays = per_request_arrays(records) if per_request else {}
    run = {
        "policy": policy,
        "profile": "made",
        **summarize(records),
        "version": "0",
        "config": {
            "classes": {"chat": {"ttft_ms": 1000, "tpot_ms": 50}, "code": {"e2e_ms": 4000}},
            "predictor": {"kind": "oracle"},
        },
        **arrays,
        "trace": ["made.jsonl"],
        "load": load,
        "seed": 0,
    }
    plain: dict[str, Any] = orjson.loads(orjson.dumps(run, option=orjson.OPT_SERIALIZE_NUMPY))
    return plain
