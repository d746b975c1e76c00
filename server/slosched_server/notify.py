"""What systemd is told of this process, where it is one of its services (`Type=notify`)."""

import os
import socket
from contextlib import suppress


def notify(state: str) -> None:
    """Send `READY=1` or the like to systemd, see sd_notify(3); nothing happens without one."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):  # of Linux's abstract names
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, suppress(OSError):
        sender.sendto(state.encode(), address)
