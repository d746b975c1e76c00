"""One queue before many replicas: requests are held in the plan's order, and bound late.

A library without threads, input or output: the front end and the picker are adapters on it.
"""

from slosched.dispatch.dispatcher import Binding, Dispatcher
from slosched.dispatch.job import FleetJob, FleetSolved
from slosched.dispatch.replica import Replica

__all__ = ["Binding", "Dispatcher", "FleetJob", "FleetSolved", "Replica"]
