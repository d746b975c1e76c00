"""One container of a pod: its process, its restarts and its probes."""

import asyncio
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.cluster.api import Object
from tests.cluster.probes import execute, passes, verdicts
from tests.cluster.programs import signal_group, stop
from tests.cluster.sandbox import Sandbox

# The first restart is at once, as a real kubelet's is; the real one then waits for 10 s to 300 s.
BACK_OFF_S = 1.0
LONGEST_BACK_OFF_S = 16.0


@dataclass(frozen=True)
class Setting:
    """What all containers of a pod share; nobody probes while its node is cut off."""

    pod_ip: str
    restart_policy: str
    grace_s: float
    changed: Callable[[], None]
    connected: asyncio.Event


class Container:
    """A container and what its status says."""

    def __init__(self, spec: Object, argv: list[str], sandbox: Sandbox, setting: Setting) -> None:
        self.spec = spec
        self.process: Process | None = None
        self.state: Object = {"waiting": {"reason": "ContainerCreating"}}
        self.last_state: Object = {}
        self.restarts = 0
        self.over = False
        self.started = False
        self.ready = False
        self._argv = argv
        self._sandbox = sandbox
        self._setting = setting
        self._stopping = asyncio.Event()

    async def run(self) -> int:
        """Run it until it has ended for good; gives its last exit code."""
        try:
            return await self._run()
        finally:
            self.over = True
            self._setting.changed()

    async def stop(self, grace_s: float) -> None:
        """End it: preStop, SIGTERM, and SIGKILL once the grace period is over."""
        self._stopping.set()
        process = self.process
        if process is None or process.returncode is not None:
            return
        end = asyncio.get_running_loop().time() + grace_s
        hook = self.spec.get("lifecycle", {}).get("preStop", {})
        with suppress(TimeoutError):
            async with asyncio.timeout_at(end):
                if "exec" in hook:
                    await execute(hook["exec"]["command"], self._sandbox)
        await stop(process, max(0.0, end - asyncio.get_running_loop().time()))

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all of its processes."""
        if self.process is not None:
            signal_group(self.process, number)

    def status(self) -> Object:
        """Give its entry in the pod's status."""
        return {
            "name": self.spec["name"],
            "image": self.spec["image"],
            "imageID": "",
            "containerID": f"process://{self.process.pid}" if self.process else "",
            "ready": self.ready,
            "started": self.started,
            "restartCount": self.restarts,
            "state": self.state,
            "lastState": self.last_state,
        }

    async def _run(self) -> int:
        back_off_s = 0.0
        while True:
            code = await self._once()
            policy = self._setting.restart_policy
            again = policy == "Always" or (policy == "OnFailure" and code != 0)
            if self._stopping.is_set() or not again:
                return code
            self.last_state = self.state
            if back_off_s:
                self._become({"waiting": {"reason": "CrashLoopBackOff"}})
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), back_off_s)
                    return code
            back_off_s = min(LONGEST_BACK_OFF_S, max(BACK_OFF_S, 2 * back_off_s))
            self.restarts += 1

    async def _once(self) -> int:
        since = now()
        self.process = await self._sandbox.start(self._argv)
        self.started = "startupProbe" not in self.spec
        self.ready = self.started and "readinessProbe" not in self.spec
        self._become({"running": {"startedAt": since}})
        probing = asyncio.create_task(self._probe())
        try:
            code = await self.process.wait()
        finally:
            probing.cancel()
            self.signal(signal.SIGKILL)  # what it has left
            await asyncio.gather(self.process.wait(), probing, return_exceptions=True)
        self.started = self.ready = False
        ended = {"reason": "Completed" if code == 0 else "Error", "startedAt": since}
        # A shell's numbers: 137 is a process that was killed.
        code = 128 - code if code < 0 else code
        self._become({"terminated": ended | {"exitCode": code, "finishedAt": now()}})
        return code

    async def _probe(self) -> None:
        if "startupProbe" in self.spec:
            async for passed in self._verdicts("startupProbe"):
                if passed:
                    break
                return await self._fail()
            self.started = True
            self.ready = "readinessProbe" not in self.spec
            self._setting.changed()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._live())
            group.create_task(self._follow_readiness())
        return None

    async def _live(self) -> None:
        async for passed in self._verdicts("livenessProbe"):
            if not passed:
                return await self._fail()
        return None

    async def _follow_readiness(self) -> None:
        async for passed in self._verdicts("readinessProbe"):
            if passed is not self.ready:
                self.ready = passed
                self._setting.changed()

    async def _fail(self) -> None:
        assert self.process is not None
        # Not awaited by this task: the end of the process cancels it.
        self._failing = asyncio.create_task(stop(self.process, self._setting.grace_s))

    async def _verdicts(self, kind: str) -> AsyncGenerator[bool, None]:
        if kind not in self.spec:
            return
        probe = self.spec[kind]

        async def attempt() -> bool:
            await self._setting.connected.wait()
            return await passes(probe, self.spec, self._setting.pod_ip, self._sandbox)

        async with aclosing(verdicts(probe, attempt)) as found:
            async for passed in found:
                yield passed

    def _become(self, state: Object) -> None:
        self.state = state
        self._setting.changed()


def now() -> str:
    """Give the time as the API writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
