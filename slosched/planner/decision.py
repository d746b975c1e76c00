"""What the planner tells an engine before each step, beside the ranks in the table."""

from dataclasses import dataclass

from slosched.core.types import IntArray


@dataclass(frozen=True, slots=True)
class Decision:
    """What the plan in force asks of the next step.

    Parameters
    ----------
    preempt
        Table rows of running requests that lose their slots before the step.
    max_num_seqs
        Admit nobody while so many run.
    max_num_batched_tokens
        Compute no more tokens in the step.
    """

    preempt: IntArray
    max_num_seqs: int
    max_num_batched_tokens: int
