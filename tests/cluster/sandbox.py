"""Where a pod's containers run: volumes at the paths that the manifest names, as in an image.

There are no images: below these paths a container sees this machine's files, and its network.
"""

import os
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.programs import Programs, kept

_ENTER = Path(__file__).parent / "enter.sh"


@dataclass(frozen=True)
class Sandbox:
    """What the processes of one container share."""

    programs: Programs
    log: str
    root: Path
    mounts: Sequence[tuple[Path, str]]
    environ: Mapping[str, str]
    working_dir: str = "/"

    async def start(self, argv: Sequence[str]) -> Process:
        """Start a command; its process is the command's own, in a group of its own."""
        self.root.mkdir(parents=True, exist_ok=True)
        # Only root may mount; others may in a namespace where they seem to be root.
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        enter = ["unshare", *user, "--mount", str(_ENTER), str(self.root), self.working_dir]
        for source, path in self.mounts:
            enter += [str(source), path]
        return await self.programs.start(
            self.log, [*enter, "--", *argv], kept() | dict(self.environ)
        )
