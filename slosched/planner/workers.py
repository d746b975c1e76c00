"""Where plans are solved: in the step, beside the engine, or beside it in virtual time."""

from math import inf
from threading import Condition, Thread
from typing import Protocol

from slosched.planner.job import Job, Solved


class Worker(Protocol):
    """Solves one job at a time; a newer job takes the place of the one that waits.

    Attributes
    ----------
    instant
        Whether a job is done as soon as it is submitted.
    done_at
        When to collect what is being solved, s: -inf where nobody knows, inf where nothing is.
    """

    instant: bool

    @property
    def done_at(self) -> float:
        """See above."""
        ...

    @property
    def busy(self) -> bool:
        """Whether a job is being solved, or waits to be."""
        ...

    def submit(self, job: Job) -> None:
        """Take a job; never waits for one that is being solved."""
        ...

    def collect(self, now: float) -> Solved | None:
        """Return the newest result that is there at `now`, once; None if there is no new one."""
        ...

    def close(self) -> None:
        """Solve nothing any more; whatever is being solved is not waited for."""
        ...


class Inline:
    """Solves at once, inside the step: for policies that merely sort."""

    instant = True
    busy = False
    done_at = inf

    def __init__(self) -> None:
        self._solved: Solved | None = None

    def submit(self, job: Job) -> None:
        """Solve the job."""
        self._solved = job.solve()

    def collect(self, now: float) -> Solved | None:  # noqa: ARG002 - a worker's signature
        """Return what the last job came to."""
        solved, self._solved = self._solved, None
        return solved

    def close(self) -> None:
        """Nothing is left to stop."""


class Charged:
    """Solves in virtual time: a result shows once the clock has moved on by what it costs.

    Parameters
    ----------
    seconds
        Charged for each solve, whatever it takes on a real clock, so that runs repeat exactly.

    Raises
    ------
    ValueError
        If `seconds` is negative.
    """

    instant = False

    def __init__(self, seconds: float) -> None:
        if not seconds >= 0:
            raise ValueError(f"seconds must not be negative, got {seconds}")
        self.seconds = seconds
        self._solving: Solved | None = None
        self._done_at = 0.0
        self._waiting: Job | None = None

    @property
    def busy(self) -> bool:
        """Whether the clock has yet to reach the end of a solve."""
        return self._solving is not None

    @property
    def done_at(self) -> float:
        """When the clock reaches that, s."""
        return self._done_at if self.busy else inf

    def submit(self, job: Job) -> None:
        """Solve the job from now on, or after the one that is being solved."""
        if self._solving is not None:
            self._waiting = job
        else:
            self._start(job, job.snapshot.now)

    def collect(self, now: float) -> Solved | None:
        """Return the newest result whose time is up."""
        newest = None
        while self._solving is not None and now >= self._done_at:
            newest, self._solving = self._solving, None
            if self._waiting is not None:
                job, self._waiting = self._waiting, None
                self._start(job, self._done_at)
        return newest

    def close(self) -> None:
        """Drop what has not come to its end."""
        self._solving = self._waiting = None

    def _start(self, job: Job, at: float) -> None:
        self._solving = job.solve()
        self._done_at = at + self.seconds


class Beside:
    """Solves in one thread beside the engine, which never waits for it.

    The thread starts with the first job, and is a daemon: a policy that hangs in it holds up
    neither `close` nor the end of the program.
    """

    instant = False
    done_at = -inf

    def __init__(self) -> None:
        self._changed = Condition()  # guards all below; held to swap references, no longer
        self._thread: Thread | None = None
        self._waiting: Job | None = None
        self._solving = False
        self._solved: Solved | None = None
        self._closed = False

    @property
    def busy(self) -> bool:
        """Whether the thread has something to do."""
        # Asked in every step, without the lock: a job is waiting until it is being solved.
        return self._waiting is not None or self._solving

    def submit(self, job: Job) -> None:
        """Leave the job to the thread, in place of one that it has not begun."""
        with self._changed:
            if self._closed:
                return
            self._waiting = job
            self._changed.notify()
            if self._thread is None:
                self._thread = Thread(target=self._work, name="slosched-planner", daemon=True)
                self._thread.start()

    def collect(self, now: float) -> Solved | None:  # noqa: ARG002 - a worker's signature
        """Return the newest result, if there is one."""
        if self._solved is None:
            return None
        with self._changed:
            solved, self._solved = self._solved, None
            return solved

    def close(self) -> None:
        """Let the thread end once it is done with what it is at."""
        with self._changed:
            self._closed, self._waiting = True, None
            self._changed.notify()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            solved = job.solve()
            with self._changed:
                self._solved, self._solving = solved, False

    def _next(self) -> Job | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting is not None)
            job = self._waiting
            self._solving = job is not None
            self._waiting = None
            return job
