"""File descriptors: each client takes one, and the engine another one for each request."""

import resource

import structlog

log = structlog.get_logger()

_OTHERS = 256  # files, pipes, probes


def make_room(connections: int) -> None:
    """Raise the soft limit of this process as far as clients need it and the hard one allows."""
    wanted = 2 * connections + _OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY in {soft, hard} or wanted <= soft:
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    if wanted > hard:
        log.warning("few file descriptors: ulimit -n", hard=hard, max_connections_needs=wanted)
