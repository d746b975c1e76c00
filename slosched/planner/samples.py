"""Made-up requests for a planner to be tried on before there are real ones."""

from collections.abc import Iterator

import numpy as np

from slosched.core.latency import LinearLatency
from slosched.core.live import LiveTable
from slosched.core.request import Request
from slosched.core.slo import Slo
from slosched.core.snapshot import EngineLimits, Snapshot

_SLOS = (Slo(ttft=1.0), Slo(ttft=10.0, tpot=0.1), Slo(e2e=30.0), Slo())


def sample_table() -> LiveTable:
    """Return requests of all kinds that wait, without predictions."""
    table = LiveTable()
    for i in range(16):
        slo = _SLOS[i % len(_SLOS)]
        table.add(Request(f"sample-{i}", -1.0, 16 + i, slo, max_tokens=512, prompt="Go on."))
    return table


def snapshots_of(
    table: LiveTable, limits: EngineLimits, latency: LinearLatency
) -> Iterator[Snapshot]:
    """Yield two snapshots that lead planning through all it does: before and after admissions.

    Up to half of the slots are taken then, by requests at their first prompt token, and by others
    that decode.
    """
    yield table.snapshot(0.0, limits, latency)[0]
    live = table.live()
    for i, row in enumerate(live[: min(len(live) // 2, max(limits.max_num_seqs // 2, 1))]):
        table.admit(int(row))
        if i % 2 == 0:
            _decode(table, int(row))
    yield table.snapshot(0.0, limits, latency)[0]


def _decode(table: LiveTable, row: int) -> None:
    live = table.rows[row]
    live["context"], live["prefill"] = live["prefill"], 0
    live["produced"], live["first_token"] = 1, np.nextafter(0.0, -1.0)
