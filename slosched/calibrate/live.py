"""A live engine, from the first question to the fit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

import numpy as np

from slosched.calibrate.case import Case, Prompt, Staircase
from slosched.calibrate.detail import Detailed, fit_in_detail
from slosched.calibrate.fit import Fitted, fit
from slosched.calibrate.grid import SHORT, Scope, estimate, in_budget, longest_prompt
from slosched.calibrate.limits import Limits, ask, measure_budget, measure_slots
from slosched.calibrate.observation import Observation, Regime
from slosched.calibrate.probe import Probe
from slosched.client.connection import Connection
from slosched.client.server import ServedModel, served_model
from slosched.client.vocabulary import parse_range, safe_ids
from slosched.core.errors import EngineError
from slosched.core.latency import LinearLatency

_WARM_UP = 3
_TRIES = 5
_LEAST_S = 5.0  # for the grid, however long finding the limits took
Told = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be measured, and how thoroughly.

    Parameters
    ----------
    longest
        Tokens of the longest prompts that the fit is to hold for; None for half of what the
        model takes, at most 4096.
    max_num_seqs, max_num_batched_tokens
        The engine's, where they are known; None to measure them.
    token_ids
        Of the prompts, like `1000-30000`; None to choose.
    seconds
        To stay within, about.
    """

    url: str
    model: str | None = None
    api_key: str | None = None
    longest: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    token_ids: str | None = None
    seconds: float = 120.0
    quick: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was measured, and the models that were fitted to it.

    Parameters
    ----------
    fitted, detailed
        For planning, and for simulations; None if the measurements show no detail.
    longest
        Tokens of the longest prompts that were measured.
    passes
        How often each case was measured, at least.
    """

    fitted: Fitted
    detailed: Detailed | None
    observations: Sequence[Observation]
    limits: Limits
    model: ServedModel
    longest: int
    passes: int
    seconds: float


async def calibrate(wanted: Wanted, told: Told = lambda _, __: None) -> Calibration:
    """Measure a server that does nothing else, and fit the latency model.

    Parameters
    ----------
    told
        Called with what is being done, and the share of it that is.

    Raises
    ------
    ServerError
        If there is no such server or model, or it is busy.
    EngineError
        If it fails on the way, or its steps cannot be told apart.
    """
    started = monotonic()
    async with Connection(wanted.url, wanted.api_key) as connection:
        model = await served_model(connection, wanted.model)
        limits = (await ask(connection, model)).known(
            "given",
            max_num_seqs=wanted.max_num_seqs,
            max_num_batched_tokens=wanted.max_num_batched_tokens,
        )
        if wanted.token_ids is None:
            ids = await safe_ids(connection, model.name)
        else:
            ids = parse_range(wanted.token_ids)
        rng = np.random.default_rng(wanted.seed)
        async with Probe(connection, model.name, ids, rng) as probe:
            longest = longest_prompt(limits, wanted.longest)
            told("getting to know the engine", 0.0)
            rough = await _rough(probe, longest)
            limits = await _measured(limits, probe, rough, told)
            left = max(wanted.seconds - (monotonic() - started), _LEAST_S)
            scope, cases, passes = in_budget(
                Scope(longest, wanted.quick), limits, rough.latency, left
            )
            expected = passes * estimate(cases, limits, rough.latency)
            told(_announced(scope, longest, passes, expected), 0.0)
            found, passes = await _grid(
                probe, cases, passes, limits, started + wanted.seconds, lambda x: told("", x)
            )
    took = monotonic() - started
    return Calibration(
        fit(found), fit_in_detail(found), found, limits, model, scope.longest, passes, took
    )


def _announced(scope: Scope, wanted: int, passes: int, expected: float) -> str:
    shorter = f" (of {wanted}: more take more --seconds)" if scope.longest < wanted else ""
    times = "once" if passes == 1 else f"{passes} times"
    return (
        f"measuring prompts up to {scope.longest} tokens{shorter}, {times}, about {expected:.0f} s"
    )


async def _rough(probe: Probe, longest: int) -> Fitted:
    """Estimate step times from a few requests, well enough to say how long the rest takes."""
    for _ in range(_WARM_UP):  # an engine's first steps are slow
        await Prompt(SHORT).measure(probe, None)
    (short,) = await Prompt(SHORT).measure(probe, None)
    (long,) = await Prompt(max(longest // 4, 2 * SHORT)).measure(probe, None)
    base = min(o.seconds / o.steps for o in await _alone(probe))
    token = max((long.seconds - short.seconds) / (long.prefill - short.prefill), base / 1e4)
    overhead = max(short.seconds - base - token * short.prefill, 0.0)
    # A sequence mostly costs some hundredths of the base; its context is left out.
    return Fitted(LinearLatency(base, token, base / 50, 0.0), overhead)


async def _alone(probe: Probe) -> list[Observation]:
    """Observe a sequence that decodes by itself.

    A machine that is busy sends several tokens at a time, now and then: it is asked again.

    Raises
    ------
    EngineError
        If it does so each time.
    """
    for _ in range(_TRIES):
        found = await Staircase(1, SHORT).measure(probe, None)
        if alone := [o for o in found if o.regime is Regime.decode]:
            return alone
    raise EngineError(
        "the server sends several tokens at a time, so that its steps cannot be told apart: "
        "is its machine, or this one, busy with something else?"
    )


async def _measured(limits: Limits, probe: Probe, rough: Fitted, told: Told) -> Limits:
    """Measure the limits that nobody told."""
    if limits.max_num_seqs is None:
        told("finding max_num_seqs", 0.0)
        limits = limits.known("measured", max_num_seqs=await measure_slots(probe, limits))
    # Steps are counted by a sequence beside the prompt, which needs a slot of its own.
    if limits.max_num_batched_tokens is None and limits.max_num_seqs != 1:
        told("finding max_num_batched_tokens", 0.0)
        found = await measure_budget(probe, limits, rough)
        limits = limits.known("measured", max_num_batched_tokens=found)
    return limits


async def _grid(
    probe: Probe,
    cases: Sequence[Case],
    passes: int,
    limits: Limits,
    deadline: float,
    told: Callable[[float], None],
) -> tuple[list[Observation], int]:
    """Take all measurements, in another order each time: a machine warms up, and tires.

    Past the deadline no case is measured again. Returns what was observed, and the number of
    passes that were made to their end.
    """
    found: list[Observation] = []
    for made in range(passes):
        for done, i in enumerate(probe.rng.permutation(len(cases)).tolist()):
            if made and monotonic() > deadline:
                return found, made
            found.extend(await cases[i].measure(probe, limits.max_num_batched_tokens))
            told((made + (done + 1) / len(cases)) / passes)
    return found, passes
