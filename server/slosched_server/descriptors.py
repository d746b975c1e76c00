"""File descriptors: each client takes one, and the engine another one for each request."""

import resource

import structlog

log = structlog.get_logger()

_OTHERS = 256  # files, pipes, probes


def make_room(connections: int) -> int:
    """Raise the soft limit of this process as far as clients need it and the hard one allows.

    Returns
    -------
    How many clients there is room for: so many, or fewer. Of more, connections would break off
    without a word.
    """
    wanted = 2 * connections + _OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or wanted <= soft:
        return connections
    given = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (given, hard))
    room = max((given - _OTHERS) // 2, 1)
    if room < connections:
        log.warning("few file descriptors, see ulimit -n", hard=hard, max_connections=room)
    return room
