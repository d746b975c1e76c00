"""Many simulated engines in virtual time, behind the very queue that the front end has."""

from slosched.sim.fleet.figures import Figures
from slosched.sim.fleet.pace import Pace
from slosched.sim.fleet.shard import Shard
from slosched.sim.fleet.sharing import SHARINGS, Sharing
from slosched.sim.fleet.virtual import VirtualFleet

__all__ = ["SHARINGS", "Figures", "Pace", "Shard", "Sharing", "VirtualFleet"]
