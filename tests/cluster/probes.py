"""Probes of a container: HTTP, TCP and commands, with the API's defaults."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable

import aiohttp

from tests.cluster.api import Object
from tests.cluster.programs import signal_group
from tests.cluster.sandbox import Sandbox


async def verdicts(
    probe: Object, passes: Callable[[], Awaitable[bool]]
) -> AsyncGenerator[bool, None]:
    """Give True or False each time that so many attempts in a row have passed or failed."""
    wanted = {True: probe.get("successThreshold", 1), False: probe.get("failureThreshold", 3)}
    row, last = 0, None
    await asyncio.sleep(probe.get("initialDelaySeconds", 0))
    while True:
        passed = await passes()
        row = row + 1 if passed is last else 1
        last = passed
        if row >= wanted[passed]:
            yield passed
        await asyncio.sleep(probe.get("periodSeconds", 10))


async def passes(probe: Object, container: Object, pod_ip: str, sandbox: Sandbox) -> bool:
    """Try once, within the probe's time-out."""
    try:
        async with asyncio.timeout(probe.get("timeoutSeconds", 1)):
            if "httpGet" in probe:
                return await _http(probe["httpGet"], container, pod_ip)
            if "tcpSocket" in probe:
                return await _tcp(probe["tcpSocket"], container, pod_ip)
            if "exec" in probe:
                return await execute(probe["exec"]["command"], sandbox) == 0
    except (OSError, TimeoutError, aiohttp.ClientError):
        return False
    raise NotImplementedError(f"the test-only kubelet has no such probe: {sorted(probe)}")


async def execute(command: list[str], sandbox: Sandbox) -> int:
    """Run a command in a container; it is killed where its caller stops waiting."""
    process = await sandbox.start(command)
    try:
        return await process.wait()
    finally:
        signal_group(process, signal.SIGKILL)
        with contextlib.suppress(asyncio.CancelledError):
            await process.wait()


async def _http(get: Object, container: Object, pod_ip: str) -> bool:
    scheme, path = get.get("scheme", "HTTP").lower(), get.get("path", "/")
    url = f"{scheme}://{get.get('host', pod_ip)}:{_port(get['port'], container)}{path}"
    headers = {header["name"]: header["value"] for header in get.get("httpHeaders", [])}
    connector = aiohttp.TCPConnector(ssl=False, force_close=True)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(url, headers=headers, allow_redirects=False) as response,
    ):
        return 200 <= response.status < 400


async def _tcp(socket: Object, container: Object, pod_ip: str) -> bool:
    port = _port(socket["port"], container)
    _, writer = await asyncio.open_connection(socket.get("host", pod_ip), port)
    writer.close()
    return True


def _port(port: int | str, container: Object) -> int:
    if isinstance(port, int):
        return port
    named = {p.get("name"): p["containerPort"] for p in container.get("ports", [])}
    return int(named[port])
