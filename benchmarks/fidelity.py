"""The simulator against a real engine: calibrate it, serve the same requests on both, compare."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import orjson
import typer
from common import Json, Measure, Quick, Seed, finish, note, print_columns, run, save
from live import CLASSES, CONFIG, MODEL, SLOTS, workload
from vllm_server import FLAGS, serving

from slosched.bench import live as bench
from slosched.bench.compose import Endpoint
from slosched.bench.result import arrays, complaints
from slosched.calibrate import error, profile
from slosched.calibrate.live import Calibration, Wanted, calibrate
from slosched.config.load import load
from slosched.config.schema import Settings
from slosched.core.request import TracedRequest
from slosched.report.files import write
from slosched.sim.summary import per_request_arrays

POLICIES = ("fcfs", "sjf", "planned")
BLOCK, BLOCKS = 32, 1000
BARS = {"e2els_ms": 5.0, "ttfts_ms": 10.0}
NAMES = {"e2els_ms": "end to end", "ttfts_ms": "TTFT"}
FIGURES = ("mean", "p50", "p90", "p99")
JUDGED = ("mean", "p90")

Arrays = dict[str, list[Any]]


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Each with other prompts.")] = 3,
    policy: Annotated[list[str] | None, typer.Option(help="As often as wanted.")] = None,
    model: Annotated[
        Path, typer.Option(help="Folder that scripts/prepare_model.py wrote.")
    ] = MODEL,
    seconds: Annotated[float, typer.Option(min=5, help="For each calibration.")] = 60.0,
    seed: Seed = 0,
    quick: Quick = False,
    json: Json = None,
) -> None:
    """Serve bursts of prompts with a real vLLM and with the simulator, under each policy.

    The requests are those of benchmarks/live.py: 120 ShareGPT prompts in 4 bursts, 8 slots, exact
    lengths. Every server is started afresh, calibrated while it does nothing else, before and
    after its requests, and simulated with what came of that: machines are shared, and the speed of
    one changes between two runs. Errors are of the simulated figure, as a share of the measured
    one; both are over all rounds. With --json an interrupted run goes on where it stopped.
    """
    if not (model / "config.json").exists():
        raise SystemExit(f"error: no model in {model}: scripts/prepare_model.py {model}")
    kinds = tuple(policy or POLICIES)
    burst = 30
    if quick:
        rounds, kinds, burst, seconds = 1, kinds[-1:], 4, 10.0
    runs = _kept(json, seed)
    for number in range(rounds):
        trace = workload(seed + number, burst)
        for kind in np.roll(kinds, -number).tolist():
            if any((r["round"], r["policy"]) == (number, kind) for r in runs):
                continue
            made = asyncio.run(_serve(model.resolve(), kind, trace, seconds, seed))
            runs.append({"round": number, "policy": kind, "seed": seed, **made})
            note(f"round {number + 1}, {kind}: {_short(runs[-1])}")
            if json is not None:
                save([], json, {"runs": runs})
    chosen = [r for r in runs if r["round"] < rounds and r["policy"] in kinds]
    _print(chosen)
    finish(_measures(chosen), quick, json, {"runs": runs})


async def _serve(
    model: Path, kind: str, trace: Sequence[TracedRequest], seconds: float, seed: int
) -> dict[str, Any]:
    """Calibrate, serve, calibrate again, and simulate the same."""
    note(f"starting vLLM, {kind}")
    async with serving(model, CONFIG.format(policy=kind), SLOTS) as url:
        wanted = Wanted(
            url, longest=512, max_num_seqs=SLOTS,
            max_num_batched_tokens=int(FLAGS["max-num-batched-tokens"]), seconds=seconds, seed=seed,
        )  # fmt: skip
        before = await calibrate(wanted)
        target = bench.Target(url, endpoint=Endpoint.completions, warm_up=2)
        replay = (await bench.run(target, trace, CLASSES)).replay
        after = await calibrate(replace(wanted, seed=seed + 1))
    if replay.interrupted:
        raise KeyboardInterrupt
    for error_kind, said in complaints(replay).items():
        raise SystemExit(f"error: the server answered {error_kind}: {said}")
    real = arrays(trace, replay)
    plain = _profile(before, after)
    served = [
        replace(t, request=replace(t.request, input_tokens=tokens, max_tokens=t.output_tokens))
        for t, tokens in zip(trace, real["input_lens"], strict=True)
    ]
    return {"profile": plain, "real": real, "simulated": simulate(kind, plain, served)}


def simulate(kind: str, plain: dict[str, Any], trace: Sequence[TracedRequest]) -> Arrays:
    """Serve requests on a simulated engine of a profile."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "profile.yaml"
        write(path, profile.to_yaml(plain).encode())
        settings = _settings(kind, path)
        records = settings.simulated_engine(trace).run(trace)
    return per_request_arrays(records)


def _settings(kind: str, measured: Path) -> Settings:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "slosched.yaml"
        path.write_text(CONFIG.format(policy=kind), encoding="utf-8")
        return load(
            path,
            [
                f"engine.profile={measured}",
                f"engine.max_num_seqs={SLOTS}",
                f"engine.max_num_batched_tokens={FLAGS['max-num-batched-tokens']}",
                f"engine.block_size={BLOCK}",
                f"engine.num_kv_blocks={BLOCKS}",
                "engine.async_scheduling=false",  # which vLLM leaves off on CPU
            ],
        ).offline()


def _profile(before: Calibration, after: Calibration) -> dict[str, Any]:
    """Fit one profile to what was measured before and after."""
    from slosched.calibrate.fit import fit

    found = [*before.observations, *after.observations]
    fitted = fit(found)
    about = {"source": "benchmarks/fidelity.py"}
    return profile.profile(fitted, error.by_regime(fitted, found), before.limits, about)


def _figures(values: Sequence[float]) -> dict[str, float]:
    some = np.array(values, dtype=np.float64)
    percentiles = {f"p{q}": float(np.percentile(some, q)) for q in (50, 90, 99)}
    return {"mean": float(some.mean()), **percentiles}


def _pooled(runs: Sequence[dict[str, Any]], side: str, name: str, of: str | None) -> list[float]:
    return [
        value
        for r in runs
        for value, slo_class in zip(r[side][name], r[side]["slo_classes"], strict=True)
        if of in (None, slo_class)
    ]


def _errors(
    runs: Sequence[dict[str, Any]], name: str, of: str | None = None
) -> Iterator[tuple[str, float, float, float]]:
    """Yield each figure: measured, simulated, in s, and the error in percent."""
    measured = _figures(_pooled(runs, "real", name, of))
    simulated = _figures(_pooled(runs, "simulated", name, of))
    for figure in FIGURES:
        off = 100 * (simulated[figure] / measured[figure] - 1)
        yield figure, measured[figure] / 1e3, simulated[figure] / 1e3, off


def _print(runs: Sequence[dict[str, Any]]) -> None:
    rows = [("policy", "class", "time", *FIGURES)]
    for kind in dict.fromkeys(r["policy"] for r in runs):
        own = [r for r in runs if r["policy"] == kind]
        for of in (None, *CLASSES):
            for name, words in NAMES.items():
                cells = [
                    f"{real:.2f} / {made:.2f} s ({off:+.1f}%)"
                    for _, real, made, off in _errors(own, name, of)
                ]
                rows.append((kind, of or "all", words, *cells))
    print_columns(rows)
    print()


def _measures(runs: Sequence[dict[str, Any]]) -> Iterator[Measure]:
    kinds = list(dict.fromkeys(r["policy"] for r in runs))
    for kind in kinds:
        own = [r for r in runs if r["policy"] == kind]
        for name, bar in BARS.items():
            for figure, _, _, off in _errors(own, name):
                if figure in JUDGED:
                    what = f"{kind}: error of {figure} {NAMES[name]}, %"
                    yield Measure(what, f"{off:+.1f}", f"within {bar:g}", abs(off) <= bar)
    if len(kinds) > 1:
        orders = [
            sorted(kinds, key=lambda kind: -_attained(runs, side, kind))
            for side in ("real", "simulated")
        ]
        shares = [
            ", ".join(f"{kind} {100 * _attained(runs, side, kind):.1f}" for kind in order)
            for side, order in zip(("real", "simulated"), orders, strict=True)
        ]
        same = orders[0] == orders[1]
        yield Measure(
            "policies by SLOs met, measured / simulated", " / ".join(shares), "same", same
        )


def _attained(runs: Sequence[dict[str, Any]], side: str, kind: str) -> float:
    return float(np.mean([m for r in runs if r["policy"] == kind for m in r[side]["slo_met"]]))


def _short(run: dict[str, Any]) -> str:
    said = []
    for name, words in NAMES.items():
        _, real, made, off = next(_errors([run], name))
        said.append(f"mean {words} {real:.2f} s, simulated {made:.2f} s ({off:+.1f}%)")
    return "; ".join(said)


def _kept(file: Path | None, seed: int) -> list[dict[str, Any]]:
    if file is None or not file.exists():
        return []
    with suppress(KeyError):
        found: list[dict[str, Any]] = orjson.loads(file.read_bytes())["details"]["runs"]
        if all(r["seed"] == seed for r in found):
            note(f"{len(found)} runs are in {file} already")
            return found
    raise SystemExit(f"error: {file} is of other requests; name another file")


if __name__ == "__main__":
    run(main)
