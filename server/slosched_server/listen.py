"""Taking ports, before anything is started that would have to be stopped again."""

import os
import socket
import sys
from ipaddress import ip_address

from slosched.core.errors import SloschedError

_SEND_BUFFER = 128 * 1024  # bytes, which Linux doubles


class PortError(SloschedError):
    """A port cannot be listened on."""


def listen(host: str, port: int) -> socket.socket:
    """Open a listening TCP socket; port 0 takes a free one.

    Raises
    ------
    PortError
        If the port is in use, needs rights that we lack, or the host is none of ours.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.create_server(address[:2], family=family, backlog=2048)
        # Connections inherit it. asyncio sets it only on sockets that name their protocol, and
        # without it an answer's second write waits 40 ms for the client's acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Else the kernel keeps up to 4 MB for each client that does not read.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    except socket.gaierror as error:
        raise PortError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    except OSError as error:
        # The standard library's own text repeats the address.
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise PortError(f"cannot listen on {host}:{port}: {reason}") from error
    return listener


def notice_lost(listener: socket.socket, after_s: int) -> None:
    """Let connections to come break off once their other end was silent for so long.

    It need not say anything as long as its machine does; one that is lost takes nobody's leave.
    """
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":  # where connections inherit it
        tcp = socket.IPPROTO_TCP
        listener.setsockopt(tcp, socket.TCP_KEEPIDLE, max(after_s // 2, 1))
        listener.setsockopt(tcp, socket.TCP_KEEPINTVL, max(after_s // 8, 1))
        # Of what is sent and not acknowledged, and of the questions above.
        listener.setsockopt(tcp, socket.TCP_USER_TIMEOUT, 1000 * after_s)


def free_port(host: str, port: int) -> int:
    """Check that a port is free, or find one for port 0, for a process that will listen later.

    Raises
    ------
    PortError
        If it is not.
    """
    with listen(host, port) as taken:
        number: int = taken.getsockname()[1]
        return number


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone; no for names but localhost."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
