"""Ports: answers leave at once, and what cannot be listened on is said at the start."""

import socket

import pytest

from slosched_server.listen import PortError, free_port, listen


def test_an_answer_of_two_writes_does_not_wait_for_the_client() -> None:
    """Whoever accepts sets nothing: without this, 40 ms pass between head and body."""
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_that_is_taken() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(PortError, match=f"cannot listen on 127.0.0.1:{port}: Address already"):
            free_port("127.0.0.1", port)
