"""`slosched picker` as a process of its own."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from slosched_server.listen import free_port

_HOST = "127.0.0.1"


@dataclass(frozen=True)
class Picker:
    """A running picker: its addresses, and its log."""

    address: str
    health: str
    status: str
    log: Path
    process: asyncio.subprocess.Process


@asynccontextmanager
async def picker(
    folder: Path, *flags: str, ports: Sequence[int] = (0, 0, 0), host: str = _HOST
) -> AsyncIterator[Picker]:
    """Start it, and wait until it listens; its log goes to a file of the folder."""
    free = [port or free_port(host, 0) for port in ports]
    names = ("--port", "--health-port", "--metrics-port")
    where = [part for name, port in zip(names, free, strict=True) for part in (name, str(port))]
    log = folder / f"picker-{free[0]}.log"
    with log.open("ab") as out:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "slosched", "picker", "--host", host, *where, *flags),
            stderr=out,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    try:
        while not re.search(rb"listening", log.read_bytes()):
            assert process.returncode is None, log.read_text()
            await asyncio.sleep(0.05)
        addresses = [f"{host}:{port}" for port in free]
        yield Picker(addresses[0], addresses[1], f"http://{addresses[2]}", log, process)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
