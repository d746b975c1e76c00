"""Least slack first, with hopeless requests last."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from slosched.core.plan import Plan
from slosched.core.snapshot import Snapshot
from slosched.policies.guard import Guarded
from slosched.policies.keys import by


@dataclass(frozen=True, slots=True)
class LeastSlack(Guarded):
    """Serve the request that can wait least; the hopeless come last."""

    kind: Literal["least_slack"] = "least_slack"

    def plan(self, snapshot: Snapshot) -> Plan:
        """Order the snapshot."""
        return by(snapshot, snapshot.hopeless.astype(np.int64), snapshot.slack)
