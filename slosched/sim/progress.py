"""What the planner's table says of a sequence: as `slosched.vllm` writes it in a real engine."""

import numpy as np
from numba import njit

from slosched.core.types import LiveArray
from slosched.sim.state import State


@njit(cache=True)
def place(state: State, live: LiveArray, row: int, computed: int) -> None:
    """Write how far a running sequence has come, with so many tokens in the KV cache."""
    request, seq = live[row], state.seqs[row]
    request.context = computed
    request.prefill = max(seq.goal - computed, 0)
    if np.isnan(request.first_token):
        # Who has said nothing has a step to come: its first token is in flight at the best.
        request.prefill = max(request.prefill, 1)
    elif request.prefill == 0:
        request.produced = computed + 1 - seq.prompt


@njit(cache=True)
def wait(state: State, live: LiveArray, row: int, found: int) -> None:
    """Write what a waiting sequence has to compute, `found` tokens of which it need not."""
    request, seq = live[row], state.seqs[row]
    seq.goal = seq.tokens
    request.context = found
    request.prefill = max(seq.tokens - found, 1)
    request.produced = seq.tokens - seq.prompt
