"""What the front end goes by; an edit of the configuration puts other rules in their place."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from slosched.core.past import Replay
from slosched.core.protocols import Predictor
from slosched.core.tags import Tagger
from slosched.dispatch import Fairness, Replica
from slosched.dispatch.assignments.assignment import Assignment
from slosched.dispatch.assignments.planned import PlannedFleet
from slosched_server.access import Access
from slosched_server.overload import Overload


@dataclass(frozen=True, slots=True)
class Member:
    """A replica of the fleet, and where it is: the root of its URL, without `/v1`."""

    replica: Replica
    url: str

    def same_as(self, other: "Member") -> bool:
        """Whether nothing was configured differently."""
        mine, theirs = self.replica, other.replica
        return (self.url, mine.configured) == (other.url, theirs.configured)


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long answers are expected to be.

    Parameters
    ----------
    kind
        What was configured; two of the same kind need no second predictor.
    build
        Makes the predictor.
    """

    kind: object
    build: Callable[[], Predictor] = field(compare=False)


@dataclass(frozen=True, slots=True)
class FleetRules:
    """Who serves, and who of them gets a request.

    Parameters
    ----------
    members
        The replicas.
    assignment
        Who chooses.
    lengths
        What plans expect of answers.
    overload
        Bounds of the queue, and who is refused.
    fairness
        Between tenants of a class.
    probe_every_s
        Seconds between two looks at each replica.
    plan_every_s
        Seconds from one plan to the next at least.
    replay
        Serves the past once more, to tell what plans are worth; None if nobody wants to know.
    """

    members: Sequence[Member]
    assignment: Assignment | PlannedFleet
    lengths: Lengths
    overload: Overload = field(default_factory=Overload)
    fairness: Fairness = field(default_factory=Fairness)
    probe_every_s: float = 2.0
    plan_every_s: float = 0.05
    replay: Replay | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """All that may change while the front end serves.

    Parameters
    ----------
    tagger
        Reads what requests ask for.
    access
        Who may ask, and for what.
    fleet
        None before one engine, which has its own queue.
    shown
        The configuration in force as plain data, for whoever wants to see it.
    """

    tagger: Tagger
    access: Access = field(default_factory=Access)
    fleet: FleetRules | None = None
    shown: Mapping[str, Any] = field(default_factory=dict)


class RulesSource(Protocol):
    """Where rules come from: the configuration's file, and edits of it."""

    @property
    def files(self) -> Sequence[Path]:
        """What is to be watched for changes."""
        ...

    def read(self, edits: Sequence[str] = ()) -> Rules:
        """Read all anew, with some values changed (`policy.solver.cooling=0.9`).

        Raises
        ------
        SloschedError
            If it does not fit; a line for each problem.
        """
        ...

    def member(self, fields: Mapping[str, object]) -> Member:
        """Make a replica of what the configuration would say of it; raises as `read`."""
        ...


class RulesInForce:
    """Holds the newest rules; each request is read by those in force when it comes.

    Attributes
    ----------
    rules
        The newest.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._listeners: list[Callable[[Rules], None]] = []

    def replace(self, rules: Rules) -> None:
        """Put others in force, and tell whoever wants to know."""
        self.rules = rules
        for listener in self._listeners:
            listener(rules)

    def listen(self, listener: Callable[[Rules], None]) -> None:
        """Call somebody whenever there are new rules."""
        self._listeners.append(listener)
