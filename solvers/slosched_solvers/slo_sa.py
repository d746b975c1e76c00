"""Simulated annealing over fixed batches, as published: arXiv 2504.14966."""

from dataclasses import dataclass
from math import inf, log
from time import perf_counter
from typing import Literal

import numpy as np

from slosched.core.plan import Plan
from slosched.core.protocols import Problem, Solution
from slosched.core.seed import check_seed
from slosched.core.snapshot import Snapshot
from slosched.core.types import FloatArray, IntArray
from slosched_solvers.budget import check_budget
from slosched_solvers.evaluate import solution
from slosched_solvers.fixed_batches import jobs, outcome
from slosched_solvers.promoted import promoted_first
from slosched_solvers.slo_sa_kernel import anneal_batches
from slosched_solvers.temperatures import check_temperatures

LEVELS = 100  # temperatures, each `cooling` times the one before
SAMPLED_MOVES = 32  # to find the first temperature
CHUNK = 32  # moves between two looks at the clock


@dataclass(frozen=True)
class SloSa:
    """Maximise G = n / t over the sequence of requests and the sizes of their batches.

    Published: fixed batches and their latency, G, the start, the three moves. Not published, and
    so chosen here: the first temperature, out of an acceptance probability, and its cooling; the
    budget; that a batch takes as many as have slots, and KV to their end; and that the first
    batch begins at once, whoever runs already.

    Parameters
    ----------
    move_budget
        Moves to try.
    time_budget_ms
        Wall-clock time after which the search ends early; None for none.
    acceptance
        Probability with which the first temperature accepts an average worsening move.
    cooling
        Factor between two of the 100 temperatures.
    seed
        Of the random moves.
    """

    kind: Literal["slo_sa"] = "slo_sa"
    move_budget: int = 2000
    time_budget_ms: float | None = None
    acceptance: float = 0.5
    cooling: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        check_budget(self.time_budget_ms, self.move_budget)
        check_temperatures(self.acceptance, self.cooling)
        check_seed(self.seed)

    def plan(self, snapshot: Snapshot) -> Plan:
        """Order the snapshot batch by batch, behind who runs; nobody is preempted."""
        return Plan(self._order(snapshot)[0])

    def solve(self, problem: Problem) -> Solution:
        """Order as `plan` does, promoted requests first; the price is the rollout's."""
        order, moves = self._order(problem.snapshot)
        return solution(problem, promoted_first(problem, order), moves)

    def _order(self, snapshot: Snapshot) -> tuple[IntArray, int]:
        """Return the order, and the moves that it took to find."""
        service, serial = snapshot.service, snapshot.live["serial"]
        shortest_first = np.lexsort((serial, service))
        running = shortest_first[snapshot.running[shortest_first]]
        waiting = shortest_first[~snapshot.running[shortest_first]]
        if not len(waiting):
            return running, 0
        batches = Batches(snapshot, waiting)
        moves = 0 if batches.all_met() else self.improve(batches)
        # Those of one batch stay in order of service time.
        in_batches = waiting[np.argsort(batches.best, kind="stable")]
        return np.concatenate((running, in_batches)), moves

    def improve(self, batches: "Batches") -> int:
        """Search until the budget ends; return the moves made."""
        rng = np.random.default_rng(self.seed)
        seconds = inf if self.time_budget_ms is None else self.time_budget_ms / 1e3
        batches.anneal(0, 1.0, rng)  # compile, the first time; it must not eat the budget
        started = perf_counter()
        made = min(SAMPLED_MOVES, self.move_budget)
        # Ben-Ameur (2004): start where an average worsening is accepted with this probability.
        first_temperature = batches.anneal(made, inf, rng) / -log(self.acceptance)
        while made < self.move_budget:
            spent = (perf_counter() - started) / seconds
            progress = max(made / self.move_budget, spent)
            if progress >= 1:
                break
            moves = min(CHUNK, self.move_budget - made)
            batches.anneal(moves, first_temperature * self.cooling ** (LEVELS * progress), rng)
            made += moves
        return made


class Batches:
    """Requests dealt out to batches, and the best such deal found.

    Parameters
    ----------
    snapshot, rows
        The requests, shape (n,), in the order in which the first deal fills its batches.

    Attributes
    ----------
    best
        Shape (n,): the batch of each request, from 0 on.
    """

    def __init__(self, snapshot: Snapshot, rows: IntArray) -> None:
        limits = snapshot.limits
        self.work = jobs(snapshot, rows)
        self.capacity = np.array([limits.max_num_seqs, limits.kv_tokens])
        self._ends: FloatArray = np.empty(len(rows) + 1)
        self._batch = self._fill()
        self._sizes = np.bincount(self._batch, minlength=len(rows))
        self._held = np.bincount(self._batch, self.work.tokens, len(rows)).astype(np.int64)
        self.best = self._batch.copy()
        self._gains = np.full(2, self.gain())

    def gain(self) -> float:
        """G of the best deal."""
        met, latencies = self._outcome()
        return met / latencies

    def all_met(self) -> bool:
        """Whether the best deal meets every SLO."""
        return self._outcome()[0] == len(self.best)

    def anneal(self, moves: int, temperature: float, rng: np.random.Generator) -> float:
        """Try some moves; return by how much those that lost did so on average."""
        return float(
            anneal_batches(
                self.work, self.capacity, self._batch, self._sizes, self._held, self.best,
                self._gains, moves, temperature, rng, self._ends,
            )
        )  # fmt: skip

    def _outcome(self) -> tuple[int, float]:
        sizes = np.bincount(self.best, minlength=len(self.best))
        met, latencies = outcome(self.work, self.best, sizes, self._ends)
        return int(met), float(latencies)

    def _fill(self) -> IntArray:
        """Fill one batch after the other."""
        batch = np.zeros(len(self.work.tokens), dtype=np.int64)
        k, size, held = 0, 0, 0
        for i, tokens in enumerate(self.work.tokens):
            if size == self.capacity[0] or (size and held + tokens > self.capacity[1]):
                k, size, held = k + 1, 0, 0
            batch[i] = k
            size, held = size + 1, held + int(tokens)
        return batch
