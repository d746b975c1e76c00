"""What a user of what-ifs may choose from; light, as the command line imports it at once."""

from enum import StrEnum


class Find(StrEnum):
    """What of a fleet is looked for."""

    replicas = "replicas"
    load = "load"


class Routing(StrEnum):
    """How a request comes to its replica."""

    least_work = "least_work"
    round_robin = "round_robin"
    random = "random"


class Sharing(StrEnum):
    """Which of several queues gets a request."""

    hash = "hash"
    round_robin = "round_robin"
    least_loaded = "least_loaded"


class PlanTime(StrEnum):
    """How long a plan takes in virtual time."""

    budget = "budget"
    measured = "measured"
