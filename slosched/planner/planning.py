"""The planner: the table of live requests, and the newest plan that there is for them."""

from collections import deque
from dataclasses import replace
from math import inf

import numpy as np

from slosched.core.drain import drain
from slosched.core.latency import LinearLatency
from slosched.core.live import LiveTable
from slosched.core.plan import Plan
from slosched.core.protocols import Guard, Policy, Predictor, Standing, StepCounter
from slosched.core.request import Request
from slosched.core.snapshot import EngineLimits
from slosched.core.types import LiveArray
from slosched.planner.decision import Decision
from slosched.planner.expectations import Ended
from slosched.planner.experience import Experience
from slosched.planner.failures import Failures
from slosched.planner.in_force import InForce
from slosched.planner.job import Job, Solved
from slosched.planner.manner import Manner
from slosched.planner.margin import Learned, Margin, MarginRule
from slosched.planner.samples import sample_table, snapshots_of
from slosched.planner.workers import Inline, Worker

_KEPT = 1000  # figures for metrics, if nobody takes them
_ROUNDING = 1e-9  # s; what a sum of steps may be off


class Planner:
    """One scheduler's planning: the same in the simulator and inside vLLM.

    An engine enters requests (`add`), writes their progress into `table.rows`, asks for a decision
    before each step (`plan`), lets the next plan begin once the step is scheduled (`hand_over`),
    and says when requests end (`remove`).

    Parameters
    ----------
    policy
        Orders the live requests.
    predictor
        Predicts lengths: for the first plan after an arrival, and again every `repredict_tokens`
        output tokens.
    guard
        Mends the policy's plans.
    fallback
        Takes over, inside the step, while the policy raises, returns no plan, or hangs (law 14).
    worker
        Where the policy works; `Inline()` by default.
    margin
        By how much the policy is told that steps take longer than the latency model says.
    max_plan_age
        Seconds after which a plan is renewed even if nobody came, went or changed places.
    patience
        Seconds without a result after which a solve passes for hung.
    standing
        The policy, where its order of any two requests never changes and the guard sees to nobody:
        it ranks each once, and nothing is ever planned.

    Attributes
    ----------
    table
        The live requests. `rows["rank"]` is everybody's place: the least goes first.
    plans
        Plans of the policy that came into force.
    manner
        How it plans now.
    """

    def __init__(
        self,
        policy: Policy,
        predictor: Predictor,
        guard: Guard,
        fallback: Policy,
        *,
        repredict_tokens: int = 25,
        worker: Worker | None = None,
        margin: MarginRule | None = None,
        max_plan_age: float = 1.0,
        patience: float = 1.0,
        standing: Standing | None = None,
    ) -> None:
        from slosched.planner import kernels  # brings numba

        self._kernels = kernels
        self.table = LiveTable()
        self.plans = 0
        self._fallback = fallback
        self._adopt(
            Manner(
                policy, predictor, guard, repredict_tokens, worker or Inline(), margin or Learned(),
                max_plan_age, patience, standing,
            )
        )  # fmt: skip
        self._experience = Experience(predictor, repredict_tokens, self.manner.margin)
        self._in_force = InForce(self.table)
        self._failures = Failures()
        self._now, self._limits = 0.0, EngineLimits()
        self._latency = LinearLatency(1.0, 0.0, 0.0, 0.0)
        self._believed = self._latency, 1.0
        self._stale = False  # whether the plan to come is worth more than the newest one asked for
        self._solved: Solved | None = None  # that has yet to be taken
        self._spare: LiveArray | None = None  # memory of a snapshot that is done with
        self._seen_version = -1  # of the table, at the newest snapshot
        self._heard_at = 0.0  # when the worker last began or delivered, s
        self._handed_over = False  # since the last step
        self._failing = self._hung = False
        self._solves: deque[float] = deque(maxlen=_KEPT)
        self._next: Manner | None = None  # that is to come, see `change`

    def _adopt(self, manner: Manner) -> None:
        self.manner = manner
        self._policy, self._guard, self._counter = manner.policy, manner.guard, manner.counter
        self._worker, self._standing = manner.worker, manner.standing
        self._max_plan_age, self._patience = manner.max_plan_age, manner.patience

    @property
    def version(self) -> int:
        """Grows with every plan: everybody may have moved. Newcomers get places without it."""
        return self._in_force.version

    @property
    def margin(self) -> Margin:
        """The factor between the latency model and what the policy is told."""
        return self._experience.margin

    @property
    def failures(self) -> int:
        """Errors of policy, guard and predictor that were survived, and solves that hung."""
        return self._failures.count

    @property
    def _in_trouble(self) -> bool:
        return self._failing or self._hung

    @property
    def kind(self) -> str:
        """What makes the plans: the kind of the policy's solver, or of the policy itself."""
        return self.manner.kind

    # -- requests come and go ------------------------------------------------------------------

    def add(self, request: Request) -> int:
        """Enter a request that waits, and return its row."""
        length = self._experience.usual.tokens
        if request.max_tokens is not None:
            length = min(length, request.max_tokens)
        row = self.table.add(request, length)
        if self._standing is not None:
            self.table.rows["rank"][row] = self._standing.rank(self.table.rows[row])
        else:
            self._in_force.came(row)
        return row

    def finish(self, request_id: str, output_tokens: int, now: float) -> None:
        """Forget a request that came to its end, so that plans and predictions learn from it.

        Parameters
        ----------
        output_tokens
            How long its answer came to be.
        now
            When its last token came, s.
        """
        table = self.table
        row = table.row(request_id)
        serial, first = int(table.rows["serial"][row]), float(table.rows["first_token"][row])
        ended = Ended(table.request(row), row, serial, first, now, output_tokens)
        self._experience.ended(ended)
        self.remove(request_id)

    def remove(self, request_id: str) -> None:
        """Forget a request, whether it came to its end or not."""
        self.table.remove(request_id)
        if not len(self.table):
            self._in_force.drop()

    # -- one step ------------------------------------------------------------------------------

    def plan(self, now: float, limits: EngineLimits, latency: LinearLatency) -> Decision:
        """Decide about the next step; to be called once before each, and never waits.

        Writes each request's place into `table.rows["rank"]`.

        Parameters
        ----------
        now
            Seconds, on the clock of the arrivals.
        limits, latency
            The engine, and how long its steps take.
        """
        self._now, self._limits = now, limits
        if self._next is not None:
            self._change(self._next)
        if self._standing is not None:
            self.table.forget_admissions()
            return self._in_force.decide(limits)
        self._believe(latency)

        # 1. See who starves, and of whom the predictor knows more by now.
        self._stale |= self._counter is not None and self._tick(self._counter)
        self._hear_of_lengths()

        # 2. Take what the worker has; plan here if it works in the step, or not at all.
        self._collect(now)
        in_step = self._worker.instant or self._in_trouble or not self._handed_over
        self._handed_over = False
        if in_step and self._wants_plan():
            self._renew()

        # 3. Find a place for whom no plan knows yet.
        self._in_force.place_newcomers(now, limits, self._latency)
        return self._in_force.decide(limits)

    def hand_over(self, now: float | None = None) -> None:
        """Give the worker the state in which the step leaves the queues, if it is a new one.

        To be called once the step is scheduled: then who was admitted or preempted in it is so in
        the table, and the plan is about what its own step will find. An engine that never calls
        this has it done in `plan`, where the step's own decisions are not in the table yet.

        Parameters
        ----------
        now
            When the step was scheduled, s, if `plan` was not asked about it.
        """
        self._now = self._now if now is None else now
        self._handed_over = True
        if self._worker.instant or self._in_trouble or self._standing is not None:
            return
        if self._next is not None:  # it waits for the solve that is under way, and for no other
            return
        self._fetch(self._now)  # new lengths are for the next snapshot
        if self._wants_plan():
            self._submit()

    @property
    def plans_in_step(self) -> bool:
        """Whether plans are made in `plan`, which then wants to know of lengths that are due."""
        return self._worker.instant and self._standing is None

    @property
    def quiet_until(self) -> float:
        """When to call `plan` again at the latest, s; -inf for the next step.

        Before that it decides as it last did, unless somebody comes, goes, or gets or loses a
        slot; or a length is due to be predicted again, where it `plans_in_step`.
        """
        if self._next is not None:
            return -inf
        if self._standing is not None:
            return inf
        changed = self._stale or self._solved is not None or self._in_trouble
        if changed or self._counter is not None:
            return -inf
        if self._worker.busy:
            return min(self._worker.done_at, self._heard_at + self._patience)
        if self.table.version != self._seen_version:
            return -inf
        # Who asks too early hears what it heard last; too late, and a plan comes too late.
        return self._now - self.plan_age(self._now) + self._max_plan_age - _ROUNDING

    def _wants_plan(self) -> bool:
        if not len(self.table) or (self._worker.busy and not self._in_trouble):
            return False
        # What costs nothing is done for new lengths alone; who plans beside the engine predicts
        # them for the next plan.
        self._stale |= self._worker.instant and self._is_anyone_due()
        changed = self._stale or self.table.version != self._seen_version
        return changed or self.plan_age(self._now) > self._max_plan_age

    def _is_anyone_due(self) -> bool:
        return len(self._kernels.due(self.table.rows, self.table.live())) > 0

    def _renew(self) -> None:
        """Let the worker plan; while it is in trouble, rank by the fallback at once."""
        job = self._submit()
        self._collect(self._now)
        if self._in_trouble:
            self._fall_back(job)

    def _submit(self) -> Job:
        snapshot, rows = self.table.snapshot(self._now, self._limits, self._latency, self._spare)
        self._spare = None
        self._in_force.forget_makeshift_ranks(snapshot)
        whom = self._kernels.due(self.table.rows, rows)
        requests = [self.table.request(row) for row in rows[whom].tolist()]
        job = Job(snapshot, rows, self._policy, self._guard, self._experience, whom, requests)
        self._stale, self._seen_version = False, self.table.version
        if not self._worker.busy:
            self._heard_at = self._now
        self._worker.submit(job)
        return job

    def _collect(self, now: float) -> None:
        """Take the newest plan that is there, or see that the worker hangs."""
        self._fetch(now)
        if self._solved is not None:
            solved, self._solved = self._solved, None
            self._take(solved, now)
            self._spare = solved.job.snapshot.live.base  # whoever planned must not keep it
        elif self._worker.busy and not self._hung and now - self._heard_at > self._patience:
            self._hung = self._stale = True
            error = TimeoutError(f"no plan for {now - self._heard_at:.3f} s")
            self._failures.note("plan_late", self._policy, error)

    def _fetch(self, now: float) -> None:
        """Hear what the worker has to say; its plan is to be taken before the next step."""
        solved = self._worker.collect(now)
        if solved is not None:
            self._solved = solved
            self._heard_at, self._hung = now, False
            self._solves.append(solved.seconds)
            self._hear(solved)

    def _take(self, solved: Solved, now: float) -> None:
        """Put a plan in force, unless it is about a state that nobody is in any more."""
        job, plan = solved.job, solved.plan
        if plan is None:
            self._stale |= not self._failing
            self._failing = True
            return
        self._failing = False
        outdated = self._in_force.is_newer(job)  # as the fallback was faster
        if outdated or not self._in_force.put(job, plan, solved.promoted, now):
            self._stale = True
            self._experience.take_back(job.snapshot.now)
            return
        self.plans += 1

    def _hear(self, solved: Solved) -> None:
        """Take what was predicted on the way to a plan, and what went wrong."""
        for mishap in solved.mishaps:
            self._failures.note(*mishap)
        job = solved.job
        self._stale |= self._in_trouble and len(job.due) > 0  # whoever sorts meanwhile had to guess
        self._kernels.take_lengths(self.table.rows, job.rows, job.snapshot.live, job.due)

    def _hear_of_lengths(self) -> None:
        """Let those be predicted again of whom the predictor found out more by itself."""
        try:
            improved = self._experience.improved()
        except Exception as error:
            self._failures.note("prediction_failed", self._experience, error)
            return
        for request_id in improved:
            if request_id in self.table:
                self.table.rows["predict_at"][self.table.row(request_id)] = 0
                self._stale = True

    def _fall_back(self, job: Job) -> None:
        solved = replace(job, policy=self._fallback, experience=None).solve()
        for mishap in solved.mishaps:
            self._failures.note("fallback_failed", mishap.part, mishap.error)
        in_order_of_arrival = Plan(np.arange(len(job.rows)))
        self._in_force.put(job, solved.plan or in_order_of_arrival, solved.promoted, self._now)
        self._stale = False

    # -- what comes of it ----------------------------------------------------------------------

    def plan_age(self, now: float) -> float:
        """Seconds since the snapshot of the plan in force was taken; 0 before any."""
        return self._in_force.age(now)

    def take_solves(self) -> list[float]:
        """Return the seconds of each solve that ended since this was last asked."""
        return drain(self._solves)

    def take_predictions(self) -> list[float]:
        """Return the seconds that reading each text took, beside the engine, since last asked."""
        for mishap in self._experience.take_errors():
            self._failures.note(*mishap)
        return list(self._experience.take_predictions())

    def take_errors(self) -> list[tuple[str, float]]:
        """Return how late what plans said came, since last asked.

        Returns
        -------
        Pairs of "first_token" or "finish", and actual minus predicted seconds.
        """
        return drain(self._experience.errors)

    def _tick(self, counter: StepCounter) -> bool:
        try:
            return counter.tick(self.table.rows, self.table.live())
        except Exception as error:
            self._failures.note("guard_failed", counter, error)
            return False

    def _believe(self, latency: LinearLatency) -> None:
        """Reckon with an engine that is slower than a model of it by the margin."""
        believed = latency, self.margin.factor  # which others may change
        if believed != self._believed:
            self._believed, self._latency = believed, latency.slower(believed[1])

    # -- from start to end ---------------------------------------------------------------------

    def change(self, manner: Manner, *, keep_predictor: bool) -> None:
        """Plan in another manner, from the first step on in which nothing is being solved.

        Whoever is live stays, in the order there is, until there is a plan of the new kind.

        Parameters
        ----------
        manner
            Of a planner of its own, that was warmed up and is not used any more.
        keep_predictor
            Whether lengths are predicted by who did that so far, and has learnt.
        """
        if self._next is not None:
            self._next.close(but=self.manner.predictor)
        self._next = replace(manner, predictor=self.manner.predictor) if keep_predictor else manner

    def _change(self, manner: Manner) -> None:
        if self._standing is None:
            self._collect(self._now)
        if self._worker.busy and not self._hung:
            return
        if manner.predictor is not self.manner.predictor:
            self.table.rows["predict_at"][self.table.live()] = 0
        self.manner.close(but=manner.predictor)
        self._adopt(manner)
        self._experience.change(manner.predictor, manner.repredict_tokens, manner.margin)
        self._next, self._failing, self._hung = None, False, False
        self._stale, self._seen_version, self._heard_at = True, -1, self._now
        self._in_force.start_over()
        if self._standing is not None:
            self._in_force.rank_all(self._standing)

    def warm_up(self, limits: EngineLimits, latency: LinearLatency) -> None:
        """Predict and solve for made-up requests, so that nobody waits for compilers later.

        It works in the calling thread, with a table of its own; nothing that fails is raised.
        """
        table, rehearsal = sample_table(), self._experience.afresh()
        for snapshot in snapshots_of(table, limits, latency):
            rows = np.arange(len(snapshot))
            whom = self._kernels.due(table.rows, rows)
            requests = [table.request(row) for row in rows[whom].tolist()]
            job = Job(snapshot, rows, self._policy, self._guard, rehearsal, whom, requests)
            solved = job.solve()
            for mishap in solved.mishaps:
                self._failures.note(*mishap)
            self._kernels.take_lengths(table.rows.copy(), rows, snapshot.live, whom)
            InForce(table).put(job, solved.plan or Plan(rows), solved.promoted, 0.0)

    def close(self) -> None:
        """Stop planning beside the engine; a solve that hangs is not waited for."""
        for manner in filter(None, (self._next, self.manner)):
            manner.close()
