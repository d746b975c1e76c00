"""Keeps a solver running beside the engine, and answers every step from its newest plan."""

from slosched.planner.decision import Decision
from slosched.planner.manner import Manner
from slosched.planner.margin import Fixed, Learned, Margin
from slosched.planner.planning import Planner
from slosched.planner.workers import Beside, Charged, Inline, Worker

__all__ = [
    "Beside",
    "Charged",
    "Decision",
    "Fixed",
    "Inline",
    "Learned",
    "Manner",
    "Margin",
    "Planner",
    "Worker",
]
