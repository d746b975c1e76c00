"""Ports: answers leave at once, and what cannot be listened on is said at the start."""

import socket
import sys

import pytest

from slosched_server.listen import PortError, free_port, listen, notice_lost


def test_an_answer_of_two_writes_does_not_wait_for_the_client() -> None:
    """Whoever accepts sets nothing: without this, 40 ms pass between head and body."""
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere connections do not inherit it")
def test_whose_machine_is_lost_is_noticed() -> None:
    """Of one who says nothing and takes nothing; there is no machine here to lose."""
    with listen("127.0.0.1", 0) as listener:
        notice_lost(listener, 16)
        with socket.create_connection(listener.getsockname()):
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                tcp = socket.IPPROTO_TCP
                assert accepted.getsockopt(tcp, socket.TCP_KEEPIDLE) == 8
                assert accepted.getsockopt(tcp, socket.TCP_USER_TIMEOUT) == 16_000


def test_a_port_that_is_taken() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(PortError, match=f"cannot listen on 127.0.0.1:{port}: Address already"):
            free_port("127.0.0.1", port)
