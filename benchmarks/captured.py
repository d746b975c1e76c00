"""Snapshots of a simulated engine under the mix: the problem as it comes up in operation."""

from typing import Any

import numpy as np
from mix import Mix, settings

from slosched.core.latency import LinearLatency
from slosched.core.snapshot import EngineLimits, Snapshot
from slosched.planner.lengths import predict
from slosched.predictors.oracle import Oracle
from slosched.sim.engine import SimulatedEngine


def captured(
    mix: Mix, waiting: int, slots: int, load: float, seed: int, policy: str = "sjf"
) -> Snapshot:
    """Serve the mix by a policy, and return the engine as it is when so many first wait.

    Raises
    ------
    ValueError
        If never so many wait.
    """
    tokens = max(2048, slots)
    chosen = settings(
        [
            f"policy={{kind: {policy}}}",
            f"engine.max_num_seqs={slots}",
            f"engine.max_num_batched_tokens={tokens}",
        ]
    )
    trace = mix.requests(chosen, load, seed)
    lengths = Oracle(lengths={t.request.request_id: t.output_tokens for t in trace})
    watch = _Watch(chosen.planner(trace), waiting, lengths)
    engine: Any = SimulatedEngine(
        watch, chosen.limits(), chosen.latency(), options=chosen.engine.options()
    )  # type: ignore[arg-type]
    engine.run(trace)
    if watch.found is None:
        raise ValueError(f"load must let {waiting} requests wait, {load:g} does not")
    return watch.found


class _Watch:
    """A planner that looks at the queue before each step, and knows all lengths by then."""

    def __init__(self, planner: Any, waiting: int, lengths: Oracle) -> None:  # noqa: ANN401 - passes all on
        self._planner, self._lengths = planner, lengths
        self._waiting = waiting
        self.found: Snapshot | None = None

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - same
        return getattr(self._planner, name)

    def plan(self, now: float, limits: EngineLimits, latency: LinearLatency) -> Any:  # noqa: ANN401
        if self.found is None:
            table = self._planner.table
            snapshot, rows = table.snapshot(now, limits, latency)
            if int((~snapshot.running).sum()) >= self._waiting:
                requests = [table.request(row) for row in rows.tolist()]
                predict(snapshot.live, np.arange(len(rows)), requests, self._lengths, every=1)
                self.found = snapshot
        return self._planner.plan(now, limits, latency)
