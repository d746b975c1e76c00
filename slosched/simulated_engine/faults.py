"""Faults on demand: what a front end must survive, at the moment that a test wants it."""

import asyncio
import os
import signal
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal["none", "die", "hang", "slow", "refuse"]


class Fault(BaseModel):
    """What is wrong from now on.

    `none` ends all others but death; `die` kills the process as a lack of memory does; `hang`
    answers nobody any more; `slow` makes every step take `factor` times as long; `refuse` answers
    503 to whatever comes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind = "none"
    factor: float = Field(default=2.0, gt=0, le=1000)


class Faults:
    """The fault in force."""

    def __init__(self) -> None:
        self.fault = Fault()
        self._awake = asyncio.Event()
        self._awake.set()

    @property
    def refuses(self) -> bool:
        """Whether requests are refused."""
        return self.fault.kind == "refuse"

    @property
    def hangs(self) -> bool:
        """Whether nobody is answered."""
        return self.fault.kind == "hang"

    def change(self, fault: Fault) -> None:
        """Put a fault in force; it takes the place of the one before."""
        self.fault = fault
        self._awake.clear() if self.hangs else self._awake.set()

    async def awake(self) -> None:
        """Wait until the engine does not hang."""
        await self._awake.wait()


def parse_fault(text: str) -> Fault:
    """Read a fault as a command line has it: `hang`, or `slow=3`; ValueError if it is none."""
    kind, _, factor = text.partition("=")
    if kind not in get_args(Kind):
        raise ValueError(f"must be one of {', '.join(get_args(Kind))}, got {kind!r}")
    if factor and kind != "slow":
        raise ValueError(f"only slow has a factor, got {text!r}")
    try:
        return Fault(kind=kind, factor=float(factor or 2.0))
    except ValueError:
        raise ValueError(f"slow must be from above 0 to 1000, got {factor!r}") from None


def die() -> None:
    """End this process at once, as the kernel does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)
