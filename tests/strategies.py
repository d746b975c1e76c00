"""Random snapshots and traces, small enough that hypothesis shrinks them to something readable."""

from math import inf

import numpy as np
from hypothesis import strategies as st

from slosched import EngineLimits, LinearLatency, Request, Slo, Snapshot, TracedRequest
from slosched.core.snapshot import LIVE, UNRANKED
from slosched.core.tags import CLASS_HEADERS, TARGET_HEADERS, TENANT_HEADERS

LATENCY = LinearLatency(0.030, 0.0001, 0.0002, 0.0000002)


def slos() -> st.SearchStrategy[Slo]:
    limit = st.one_of(st.just(inf), st.floats(0.01, 60))
    return st.builds(
        Slo,
        ttft=limit,
        tpot=st.one_of(st.just(inf), st.floats(0.02, 0.2)),
        e2e=limit,
        weight=st.sampled_from([1.0, 1.0, 2.0, 1 / 3]),
    )


@st.composite
def snapshots(
    draw: st.DrawFn,
    max_size: int = 12,
    max_running: int | None = None,
    slots: int | None = None,
    slo: st.SearchStrategy[Slo] | None = None,
    kv_blocks: tuple[int, int] = (20, 400),
) -> Snapshot:
    n = draw(st.integers(1, max_size))
    max_num_seqs = slots or draw(st.integers(1, 6))
    running = draw(st.integers(0, min(n, max_num_seqs, n if max_running is None else max_running)))
    limits = EngineLimits(
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=draw(st.integers(max_num_seqs, 600)),
        block_size=draw(st.sampled_from([1, 16, 32])),
        num_kv_blocks=draw(st.integers(*kv_blocks)),
    )
    live = np.zeros(n, dtype=LIVE)
    live["serial"] = np.arange(n)
    live["arrival"] = np.sort([draw(st.floats(-30, 0)) for _ in range(n)])
    live["first_token"] = np.nan
    live["rank"] = [draw(st.one_of(st.just(UNRANKED), st.integers(0, n))) for _ in range(n)]
    for i, row in enumerate(live):
        asked = draw(slos() if slo is None else slo)
        row["ttft"], row["tpot"], row["e2e"] = asked.ttft, asked.tpot, asked.e2e
        row["weight"] = asked.weight
        row["prefill"] = draw(st.integers(1, 900))
        row["length"] = draw(st.integers(1, 120))
        row["first_guess"] = draw(st.integers(1, 120))
        row["priority"] = draw(st.integers(-2, 2))
        row["passes"] = draw(st.integers(0, 12))
        row["running"] = i < running
        if i >= running and draw(st.integers(0, 3)) == 0:  # was preempted, and owes its context
            row["produced"] = draw(st.integers(1, 60))
            row["length"] += row["produced"]
            row["prefill"] += row["produced"]
            row["first_token"] = draw(st.floats(float(row["arrival"]), 0))
        if i < running and draw(st.integers(0, 3)) == 0:  # part of its prompt is computed
            row["context"] = draw(st.integers(1, 300))
        elif i < running and draw(st.booleans()):  # decodes already
            row["context"], row["prefill"] = row["prefill"], 0
            row["produced"] = draw(st.integers(1, 60))
            row["length"] += row["produced"]
            row["first_token"] = draw(st.floats(float(row["arrival"]), 0))
        row["short"], row["long"] = row["length"], row["length"]
        if draw(st.integers(0, 2)) == 0:  # the predictor is unsure
            row["short"] -= draw(st.integers(0, int(row["length"] - row["produced"]) - 1))
            row["long"] += draw(st.integers(0, 200))
        if i >= running and draw(st.integers(0, 3)) == 0:  # finds part of its prompt in the cache
            row["context"] = draw(st.integers(1, 300))
    return Snapshot(0.0, live, limits, LATENCY)


@st.composite
def traces(draw: st.DrawFn, max_size: int = 25) -> list[TracedRequest]:
    times = sorted(draw(st.lists(st.floats(0, 5), min_size=1, max_size=max_size)))
    return [
        TracedRequest(
            Request(f"r{i}", time, draw(st.integers(1, 500)), draw(slos()), "any"),
            draw(st.integers(1, 60)),
        )
        for i, time in enumerate(times)
    ]


def engine_limits() -> st.SearchStrategy[EngineLimits]:
    return st.builds(
        EngineLimits,
        max_num_seqs=st.integers(1, 5),
        max_num_batched_tokens=st.integers(5, 300),
        block_size=st.sampled_from([1, 16]),
        num_kv_blocks=st.integers(10, 700),
    )


# Headers that may be ours, with values that may be junk; for law 11.
tag_headers = st.lists(
    st.tuples(
        st.sampled_from([*CLASS_HEADERS, *TARGET_HEADERS, *TENANT_HEADERS]).map(str.encode),
        st.one_of(
            st.sampled_from([b"interactive", b"batch", b"250", b"0", b"1e3", b" 7 ", b"t-1", b""]),
            st.text(max_size=12).map(lambda text: text.encode(errors="surrogatepass")),
            st.binary(max_size=12),
            st.integers().map(lambda number: b"%d" % number),
        ),
    ),
    min_size=1,
    max_size=4,
)
