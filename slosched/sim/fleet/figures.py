"""What a simulated queue did: its plans, how old they were, and how busy it was."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Figures:
    """Counts and times of one queue; real seconds are those of the machine that simulates.

    Attributes
    ----------
    plan_s
        Seconds from the state that each plan is for until it was in force, in virtual time.
    solve_s, lock_s
        Real seconds of each plan: in the thread that solves, and in the one that everything else
        is done in.
    waiting
        How many waited when each plan was begun.
    ages
        Seconds that the state was old that the plan in force was made for, when somebody was sent
        by it.
    events
        Requests that came, tokens that were heard of, and answers that ended.
    busy_s
        Real seconds that the queue was busy with these, with plans but for their solving, and with
        sending.
    """

    plan_s: list[float] = field(default_factory=list)
    solve_s: list[float] = field(default_factory=list)
    lock_s: list[float] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    ages: list[float] = field(default_factory=list)
    events: int = 0
    busy_s: float = 0.0
