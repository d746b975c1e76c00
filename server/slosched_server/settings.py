"""What can be set about the front end and the engine that it looks after."""

from dataclasses import dataclass, field
from math import isfinite
from typing import Annotated, Literal, get_args

from pydantic import Field

OnEngineExit = Literal["restart", "exit"]

_SOME_TIME = (
    "engine_start_timeout_s", "drain_timeout_s", "connect_timeout_s", "client_timeout_s",
    "write_timeout_s",
)  # fmt: skip
_AT_LEAST = {"max_restarts": 0, "max_body_bytes": 1, "max_header_bytes": 1024, "max_connections": 1}


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Settings of the front end; times are in seconds.

    Parameters
    ----------
    host, port
        Where to listen; port 0 takes a free one.
    on_engine_exit
        What to do when the engine ends by itself: start it again, or end as well.
    max_restarts
        How many restarts in a row before giving up.
    engine_start_timeout_s
        How long the engine may take until it answers `/health`.
    drain_delay_s
        How long the listener stays open once a stop was asked for, for balancers to notice.
    drain_timeout_s
        How long requests in flight may take to finish after that.
    connect_timeout_s
        How long connecting to the engine, or a health probe of it, may take.
    client_timeout_s
        How long a client may take for the head of a request, and between two pieces of its body.
    write_timeout_s
        How long a client may read nothing of what is there for it.
    max_body_bytes, max_header_bytes
        The largest body, and the largest head, of a request that is accepted.
    max_connections
        How many clients may be connected at once.
    ssl_certfile, ssl_keyfile
        Certificate chain and private key in PEM, for HTTPS; the key may be in the first.
    ssl_keyfile_password
        Of the key, if it is encrypted.
    ssl_ca_certs
        Clients must show a certificate of one of these authorities.
    access_log
        Whether a line is logged for each request.

    Raises
    ------
    ValueError
        If a field is out of bounds; the text starts with its name.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    on_engine_exit: OnEngineExit = "restart"
    max_restarts: int = 3
    engine_start_timeout_s: float = 600.0
    drain_delay_s: float = 0.0
    drain_timeout_s: float = 30.0
    connect_timeout_s: float = 5.0
    client_timeout_s: float = 20.0
    write_timeout_s: float = 60.0
    max_body_bytes: int = 16 * 1024 * 1024
    max_header_bytes: int = 64 * 1024
    max_connections: int = 4096
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    # Left out wherever the configuration is shown.
    ssl_keyfile_password: Annotated[str | None, Field(exclude=True)] = field(
        default=None, repr=False
    )
    ssl_ca_certs: str | None = None
    access_log: bool = False

    def __post_init__(self) -> None:
        if not self.host:
            raise ValueError("host: must not be empty")
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port: must be from 0 to 65535, got {self.port}")
        if self.on_engine_exit not in get_args(OnEngineExit):
            raise ValueError(f"on_engine_exit: must be restart or exit, got {self.on_engine_exit}")
        self._check_bounds()
        self._check_tls()

    def _check_bounds(self) -> None:
        for name, least in _AT_LEAST.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name}: must be {least} or more, got {getattr(self, name)}")
        for name in _SOME_TIME:
            seconds = getattr(self, name)
            if not (isfinite(seconds) and seconds > 0):
                raise ValueError(f"{name}: must be a number greater than 0, got {seconds}")
        if not (isfinite(self.drain_delay_s) and self.drain_delay_s >= 0):
            raise ValueError(f"drain_delay_s: must be 0 or more, got {self.drain_delay_s}")

    def _check_tls(self) -> None:
        for name in ("ssl_keyfile", "ssl_keyfile_password", "ssl_ca_certs"):
            if getattr(self, name) is not None and self.ssl_certfile is None:
                raise ValueError(f"{name}: needs an ssl_certfile")
