"""The simulator against a real engine: calibrate it, serve the same requests on both, compare."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NamedTuple

import numpy as np
import orjson
import typer
from common import Json, Measure, Quick, Seed, finish, note, print_columns, run, save
from live import BURSTS, CLASSES, CONFIG, MODEL, SLOTS
from live import workload as bursts
from vllm_server import FLAGS, check_model, serving

from slosched.bench import live as bench
from slosched.bench.compose import Endpoint
from slosched.bench.replay import Replay
from slosched.bench.result import arrays, complaints
from slosched.calibrate import error, profile
from slosched.calibrate.detail import fit_in_detail
from slosched.calibrate.fit import fit
from slosched.calibrate.limits import Limits
from slosched.calibrate.live import Calibration, Wanted, calibrate
from slosched.calibrate.observation import Observation
from slosched.config.load import load
from slosched.config.parts import PlannedPolicy
from slosched.config.schema import Settings
from slosched.core.live import LiveTable
from slosched.core.protocols import Problem
from slosched.core.request import TracedRequest
from slosched.planner.lengths import predict
from slosched.report.files import write
from slosched.sim.summary import per_request_arrays
from slosched.sim.truth import NoisySteps
from slosched.traces.arrivals import Poisson
from slosched_solvers.anneal import Anneal

POLICIES = ("fcfs", "sjf", "planned")
WORKLOADS = ("steady", "bursts")
RATE = 1.25  # requests a second, steady: 0.7 of what this engine serves on two cores
DRAWS = 8  # of steps' times, for each run
PLANS = 25  # made to see how many moves one has
MEDIAN_SIZE = 0.6745  # of a normal error, in standard deviations
BARS = {"e2els_ms": 5.0, "ttfts_ms": 10.0}
NAMES = {"e2els_ms": "end to end", "ttfts_ms": "TTFT"}
FIGURES = ("mean", "p50", "p90", "p99")
JUDGED = ("mean", "p90")

Arrays = dict[str, list[Any]]
Run = dict[str, Any]


class Error(NamedTuple):
    """One figure: measured, the mean of the simulated ones, and their standard deviation, s."""

    figure: str
    measured: float
    simulated: float
    spread: float

    @property
    def percent(self) -> float:
        """How far the simulated figure is off."""
        return 100 * (self.simulated / self.measured - 1)

    @property
    def chance(self) -> float:
        """How far apart the simulated ones are, in percent."""
        return 100 * self.spread / self.simulated


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Each with other prompts.")] = 3,
    policy: Annotated[list[str] | None, typer.Option(help="As often as wanted.")] = None,
    model: Annotated[
        Path, typer.Option(help="Folder that scripts/prepare_model.py wrote.")
    ] = MODEL,
    seconds: Annotated[float, typer.Option(min=5, help="For each calibration.")] = 30.0,
    seed: Seed = 0,
    quick: Quick = False,
    json: Json = None,
) -> None:
    """Serve prompts with a real vLLM and with the simulator, under each policy.

    The requests are those of benchmarks/live.py: 120 ShareGPT prompts, 8 slots, exact lengths;
    "bursts" has them as there, 30 at once, more than can be served in time, and "steady" one by
    one (Poisson), 0.7 of what can be served. Every server is started afresh and calibrated before
    and after each of the two, and simulated with what came of the calibrations on either side:
    machines are shared, and the speed of one changes between two runs.

    Each run is simulated eight times, with steps drawn as far from the model as the calibrations'
    were. Errors are of the mean of the eight, as a share of the measured figure, over all rounds;
    "chance" is how far apart the eight are (standard deviation), which is how far a measurement
    may be off its own mean. With --json an interrupted run goes on where it stopped.
    """
    check_model(model)
    kinds = tuple(policy or POLICIES)
    burst = 30
    if quick:
        rounds, kinds, burst, seconds = 1, kinds[-1:], 4, 10.0
    runs = _kept(json, seed)
    for number in range(rounds):
        traces = workloads(seed + number, burst)
        for kind in np.roll(kinds, -number).tolist():
            if any((r["round"], r["policy"]) == (number, kind) for r in runs):
                continue
            for made in asyncio.run(_serve(model.resolve(), kind, traces, seconds, seed)):
                runs.append({"round": number, "policy": kind, "seed": seed, **made})
                note(f"round {number + 1}, {kind}, {made['workload']}: {_short(runs[-1])}")
            if json is not None:
                save([], json, {"runs": runs})
    chosen = [r for r in runs if r["round"] < rounds and r["policy"] in kinds]
    _print(chosen)
    finish(_measures(chosen), quick, json, {"runs": runs})


def workloads(seed: int, burst: int) -> dict[str, list[TracedRequest]]:
    """The same requests one by one, and in bursts."""
    together = bursts(seed, burst)
    rng = np.random.default_rng(seed)
    times = Poisson(RATE).times(np.array([t.request.arrival for t in together]), rng)
    steady = [
        replace(traced, request=replace(traced.request, arrival=float(at)))
        for traced, at in zip(together, times, strict=True)
    ]
    return dict(zip(WORKLOADS, (steady, together), strict=True))


async def _serve(
    model: Path, kind: str, traces: dict[str, list[TracedRequest]], seconds: float, seed: int
) -> list[Run]:
    """Calibrate and serve in turn, and simulate the same."""
    note(f"starting vLLM, {kind}")
    served: list[tuple[Calibration, Replay, Calibration]] = []
    async with serving(model, CONFIG.format(policy=kind), SLOTS) as url:
        wanted = Wanted(
            url, longest=512, max_num_seqs=SLOTS,
            max_num_batched_tokens=int(FLAGS["max-num-batched-tokens"]), seconds=seconds, seed=seed,
        )  # fmt: skip
        target = bench.Target(url, endpoint=Endpoint.completions, warm_up=2)
        before = await calibrate(wanted)
        for number, trace in enumerate(traces.values()):
            replay = (await bench.run(target, trace, CLASSES)).replay
            if replay.interrupted:
                raise KeyboardInterrupt
            for error_kind, said in complaints(replay).items():
                raise SystemExit(f"error: the server answered {error_kind}: {said}")
            after = await calibrate(replace(wanted, seed=seed + number + 1))
            served.append((before, replay, after))
            before = after
    return [
        {"workload": name, **_simulated(kind, trace, *of)}
        for (name, trace), of in zip(traces.items(), served, strict=True)
    ]


def _simulated(
    kind: str,
    trace: Sequence[TracedRequest],
    before: Calibration,
    replay: Replay,
    after: Calibration,
) -> Run:
    """Simulate what was measured, with prompts as long as the server counted them."""
    real = arrays(trace, replay)
    observations = [*before.observations, *after.observations]
    plain, sigma = _fitted(observations, before.limits)
    counted = [
        replace(t, request=replace(t.request, input_tokens=tokens, max_tokens=t.output_tokens))
        for t, tokens in zip(trace, real["input_lens"], strict=True)
    ]
    return {
        "profile": plain,
        "observations": observations,
        "real": real,
        "simulated": simulate(kind, plain, sigma, counted),
    }


def simulate(
    kind: str, plain: dict[str, Any], sigma: float, trace: Sequence[TracedRequest]
) -> list[Arrays]:
    """Serve requests on a simulated engine of a profile, some times."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "profile.yaml"
        write(path, profile.to_yaml(plain).encode())
        settings = _settings(kind, path, trace)
        made = []
        for seed in range(DRAWS):
            steps = NoisySteps(settings.steps(), sigma=sigma, seed=seed)
            records = settings.simulated_engine(trace, steps).run(trace)
            made.append(per_request_arrays(records))
    return made


def _settings(kind: str, measured: Path, trace: Sequence[TracedRequest]) -> Settings:
    """Configure the simulator: plans are of as many moves as this machine makes in their time."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "slosched.yaml"
        path.write_text(CONFIG.format(policy=kind), encoding="utf-8")
        asynchronous = "engine.async_scheduling=false"  # which vLLM leaves off on CPU
        settings = load(path, [f"engine.profile={measured}", asynchronous])
    if isinstance(settings.policy, PlannedPolicy) and isinstance(settings.policy.solver, Anneal):
        solver = replace(settings.policy.solver, move_budget=_moves(settings, trace))
        policy = replace(settings.policy, solver=solver)
        settings = settings.model_copy(update={"policy": policy})
    return settings.offline()


def _moves(settings: Settings, trace: Sequence[TracedRequest]) -> int:
    """Moves of a plan for a burst that just came, in the median of some plans."""
    table, lengths = LiveTable(), settings.lengths(trace)
    burst = [traced.request for traced in trace[: len(trace) // BURSTS]]
    rows = np.array([table.add(replace(request, arrival=0.0)) for request in burst])
    predict(table.rows, rows, burst, lengths, 1)
    for row in rows[:SLOTS]:
        table.admit(int(row))
    snapshot, _ = table.snapshot(0.5, settings.limits(), settings.latency())
    problem = Problem(snapshot, settings.objective(), True, True, True, True)
    solver = settings.policy.solver
    solver.solve(problem)  # compiles it
    return int(np.median([solver.solve(problem).moves for _ in range(PLANS)]))


def _fitted(found: Sequence[Observation], limits: Limits) -> tuple[dict[str, Any], float]:
    """Return a profile, and how far steps of decoding are from it: a lognormal's sigma."""
    fitted, detailed = fit(found), fit_in_detail(found)
    if detailed is None:
        raise SystemExit("error: no prompts beside sequences that decode were measured")
    errors, in_detail = error.by_regime(fitted, found), error.by_regime(detailed, found)
    about = {"source": "benchmarks/fidelity.py"}
    detail = profile.detail(detailed, in_detail)
    plain = profile.profile(fitted, errors, limits, about, detail=detail)
    return plain, in_detail["decode"].median / MEDIAN_SIZE


def _figures(values: Sequence[float]) -> dict[str, float]:
    some = np.array(values, dtype=np.float64)
    percentiles = {f"p{q}": float(np.percentile(some, q)) for q in (50, 90, 99)}
    return {"mean": float(some.mean()), **percentiles}


def _pooled(sides: Iterable[Arrays], name: str, of: str | None) -> list[float]:
    return [
        value
        for side in sides
        for value, slo_class in zip(side[name], side["slo_classes"], strict=True)
        if of in (None, slo_class)
    ]


def _errors(runs: Sequence[Run], name: str, of: str | None = None) -> Iterator[Error]:
    """Yield each figure, measured and simulated."""
    measured = _figures(_pooled((r["real"] for r in runs), name, of))
    draws = [_figures(_pooled((r["simulated"][i] for r in runs), name, of)) for i in range(DRAWS)]
    for figure in FIGURES:
        each = [drawn[figure] / 1e3 for drawn in draws]
        yield Error(figure, measured[figure] / 1e3, float(np.mean(each)), float(np.std(each)))


def _print(runs: Sequence[Run]) -> None:
    rows: list[tuple[str, ...]] = [("workload", "policy", "class", "time", *FIGURES)]
    for name, kind, own in _by_case(runs):
        for of in (None, *CLASSES):
            for time, words in NAMES.items():
                cells = [
                    f"{e.measured:.2f} / {e.simulated:.2f} s ({e.percent:+.1f}%, "
                    f"chance {e.chance:.1f}%)"
                    for e in _errors(own, time, of)
                ]
                rows.append((name, kind, of or "all", words, *cells))
    print_columns(rows)
    print()


def _measures(runs: Sequence[Run]) -> Iterator[Measure]:
    for name, kind, own in _by_case(runs):
        for time, bar in BARS.items():
            for e in _errors(own, time):
                if e.figure in JUDGED:
                    what = f"{name}, {kind}: error of {e.figure} {NAMES[time]}, %"
                    said = f"{e.percent:+.1f} (chance {e.chance:.1f})"
                    yield Measure(what, said, f"within {bar:g}", abs(e.percent) <= bar)
    for name in dict.fromkeys(r["workload"] for r in runs):
        met = _met([r for r in runs if r["workload"] == name])
        if len(met) > 1:
            orders, shares = zip(*(_ranked(met, side) for side in (0, 1)), strict=True)
            what = f"{name}: policies by SLOs met, measured / simulated"
            yield Measure(what, " / ".join(shares), "same", orders[0] == orders[1])


def _ranked(met: dict[str, tuple[float, float]], side: int) -> tuple[list[str], str]:
    order = sorted(met, key=lambda kind: -met[kind][side])
    return order, ", ".join(f"{kind} {100 * met[kind][side]:.1f}" for kind in order)


def _met(runs: Sequence[Run]) -> dict[str, tuple[float, float]]:
    """Return the share of SLOs met under each policy: measured, and simulated."""
    return {
        kind: (
            float(np.mean([m for r in own for m in r["real"]["slo_met"]])),
            float(np.mean([m for r in own for drawn in r["simulated"] for m in drawn["slo_met"]])),
        )
        for _, kind, own in _by_case(runs)
    }


def _by_case(runs: Sequence[Run]) -> Iterator[tuple[str, str, list[Run]]]:
    for name, kind in sorted({(r["workload"], r["policy"]) for r in runs}, reverse=True):
        yield name, kind, [r for r in runs if (r["workload"], r["policy"]) == (name, kind)]


def _short(run: Run) -> str:
    said = []
    for name, words in NAMES.items():
        e = next(_errors([run], name))
        said.append(
            f"mean {words} {e.measured:.2f} s, simulated {e.simulated:.2f} s ({e.percent:+.1f}%)"
        )
    return "; ".join(said)


def _kept(file: Path | None, seed: int) -> list[Run]:
    if file is None or not file.exists():
        return []
    with suppress(KeyError):
        found: list[Run] = orjson.loads(file.read_bytes())["details"]["runs"]
        if all(r["seed"] == seed for r in found):
            note(f"{len(found)} runs are in {file} already")
            return found
    raise SystemExit(f"error: {file} is of other requests; name another file")


if __name__ == "__main__":
    run(main)
