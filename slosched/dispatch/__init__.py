"""One queue before many replicas: requests are held in the plan's order, and bound late.

A library without threads, input or output: the front end and the picker are adapters on it.
"""

from slosched.dispatch.binding import Binding
from slosched.dispatch.dispatcher import Dispatcher
from slosched.dispatch.fairness import Fairness
from slosched.dispatch.job import FleetJob, FleetSolved
from slosched.dispatch.reading import Reading
from slosched.dispatch.replica import Replica, State
from slosched.dispatch.view import View

__all__ = [
    "Binding",
    "Dispatcher",
    "Fairness",
    "FleetJob",
    "FleetSolved",
    "Reading",
    "Replica",
    "State",
    "View",
]
