"""What can be set about the front end and the engine that it looks after."""

from dataclasses import dataclass
from math import isfinite
from typing import Literal, get_args

OnEngineExit = Literal["restart", "exit"]


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
    drain_timeout_s
        How long requests in flight may take to finish once a stop was asked for.
    connect_timeout_s
        How long connecting to the engine, or a health probe of it, may take.
    max_body_bytes
        The largest request body that is accepted.
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
    drain_timeout_s: float = 30.0
    connect_timeout_s: float = 5.0
    max_body_bytes: int = 16 * 1024 * 1024
    access_log: bool = False

    def __post_init__(self) -> None:
        if not self.host:
            raise ValueError("host: must not be empty")
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port: must be from 0 to 65535, got {self.port}")
        if self.on_engine_exit not in get_args(OnEngineExit):
            raise ValueError(f"on_engine_exit: must be restart or exit, got {self.on_engine_exit}")
        if self.max_restarts < 0:
            raise ValueError(f"max_restarts: must be 0 or more, got {self.max_restarts}")
        for name in ("engine_start_timeout_s", "drain_timeout_s", "connect_timeout_s"):
            seconds = getattr(self, name)
            if not (isfinite(seconds) and seconds > 0):
                raise ValueError(f"{name}: must be a number greater than 0, got {seconds}")
        if self.max_body_bytes < 1:
            raise ValueError(f"max_body_bytes: must be 1 or more, got {self.max_body_bytes}")
