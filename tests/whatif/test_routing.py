"""Splitting a trace over replicas, and putting what they recorded together again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slosched.config.load import build
from slosched.config.schema import Settings
from slosched.core.request import TracedRequest
from slosched.sim.join import join
from slosched.sim.summary import per_request_arrays, summarize
from slosched.whatif.alone import attained_alone, served_tokens, times_alone
from slosched.whatif.choices import Routing
from slosched.whatif.replay import replay
from slosched.whatif.requests import requests
from slosched.whatif.routing import split
from tests.strategies import traces
from tests.whatif.parts import document, records


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engine before whose scheduler there is something else to pass."""
    path = tmp_path_factory.mktemp("profiles") / "slow-door.yaml"
    path.write_text(
        "{base_ms: 30, per_prefill_token_ms: 0.1, per_sequence_ms: 0.2, "
        "per_context_token_ms: 0.0002, overhead_ms: 250}",
        encoding="utf-8",
    )
    return path


ROUTINGS = st.sampled_from(list(Routing))
PREDICTORS = st.sampled_from(["oracle", "history", "declared", "noisy_classes"])


def configured(predictor: str = "oracle", more: str = "") -> Settings:
    text = f"classes: {{any: {{e2e_ms: 3000}}}}\npolicy: {{kind: sjf}}\n{more}"
    return build(document(text), [f"predictor.kind={predictor}"])


@given(traces(), st.integers(1, 30), ROUTINGS, PREDICTORS, st.integers(0, 3))
def test_a_split_conserves_requests_and_their_order(
    trace: list[TracedRequest], replicas: int, routing: Routing, predictor: str, seed: int
) -> None:
    """Law 1: every request is at one replica, and there in order of arrival."""
    parts = split(trace, replicas, routing, configured(predictor), seed)
    assert len(parts) == replicas
    ids = [[t.request.request_id for t in part] for part in parts]
    assert sorted(i for part in ids for i in part) == sorted(t.request.request_id for t in trace)
    place = {t.request.request_id: i for i, t in enumerate(trace)}
    for part in ids:
        assert [place[i] for i in part] == sorted(place[i] for i in part)
    assert parts == split(trace, replicas, routing, configured(predictor), seed)


@given(traces(), st.integers(1, 5), ROUTINGS, st.integers(0, 25))
def test_where_a_request_goes_does_not_depend_on_those_to_come(
    trace: list[TracedRequest], replicas: int, routing: Routing, until: int
) -> None:
    """Law 3: a router knows the past alone; lengths it learns once answers can be out."""
    chosen = configured("history")
    early = split(trace[:until], replicas, routing, chosen, 7)
    for part, whole in zip(early, split(trace, replicas, routing, chosen, 7), strict=True):
        assert part == whole[: len(part)]


@given(traces(max_size=12), st.integers(1, 4), ROUTINGS)
@settings(max_examples=30)
def test_records_of_replicas_add_up(
    trace: list[TracedRequest], replicas: int, routing: Routing
) -> None:
    """Law 1: what the replicas recorded is there once, under the request that it is of."""
    chosen = configured(more="engine: {max_num_seqs: 2, num_kv_blocks: 40}")
    parts = [replay(chosen, p) for p in split(trace, replicas, routing, chosen, 0) if p]
    whole = join(parts)
    arrivals = whole.arrival
    assert list(arrivals) == sorted(arrivals)
    found = per_request_arrays(whole)
    lists = [per_request_arrays(part) for part in parts]
    for name, values in found.items():
        each = {
            i: v
            for one in lists
            for i, v in zip(one["request_ids"], one[name], strict=True)
        }  # fmt: skip
        assert values == [each[i] for i in found["request_ids"]]
    summed, sums = summarize(whole), [summarize(part) for part in parts]
    for name in ("completed", "failed", "steps", "preemptions", "plans", "plan_failures"):
        assert summed[name] == sum(one[name] for one in sums)
    ended = [t.request.arrival + e for t, e in zip(whole.trace, whole.e2e, strict=True) if e > 0]
    if ended:
        assert summed["duration"] >= max(ended) - arrivals[0] - 1e-9
    if len(parts) == 1:
        assert summed == sums[0]


@given(traces(max_size=10), st.integers(1, 3))
@settings(max_examples=30)
def test_nobody_does_better_than_alone(
    profile: Path, trace: list[TracedRequest], slots: int
) -> None:
    """Law: whoever misses its SLO on an idle engine misses it on any number of them."""
    chosen = configured(
        more=f"engine: {{profile: {profile}, max_num_seqs: {slots}, num_kv_blocks: 40}}"
    )
    met, alone = replay(chosen, trace).attained, attained_alone(trace, chosen)
    assert not np.any(met & ~alone)
    first, finish = times_alone(trace, chosen)
    for i, traced in enumerate(trace):
        lonely = replay(chosen, [traced])
        assert lonely.ttft[0] == pytest.approx(first[i]) or np.isinf(first[i])
        assert lonely.e2e[0] == pytest.approx(finish[i]) or np.isnan(lonely.e2e[0])
        assert bool(lonely.attained[0]) == bool(alone[i])


@given(traces(max_size=10), st.data())
@settings(max_examples=30)
def test_nobody_does_better_than_alone_with_a_prefix_cache(
    trace: list[TracedRequest], data: st.DataObject
) -> None:
    """The same where prompts begin alike, as Mooncake's traces say by their pages."""
    pages = st.lists(st.sampled_from([7, 8]), min_size=3, max_size=3).map(tuple)
    alike = [
        replace(
            traced,
            request=replace(traced.request, input_tokens=1000 + traced.request.input_tokens),
            hash_ids=data.draw(pages),
        )
        for traced in trace
    ]
    chosen = configured(more="engine: {max_num_batched_tokens: 256, max_num_seqs: 4}")
    records = replay(chosen, alike)
    first, finish = times_alone(alike, chosen)
    assert np.all(records.ttft >= first - 1e-9)
    assert np.all(records.e2e >= finish - 1e-9)
    assert not np.any(records.attained & ~attained_alone(alike, chosen))


def test_a_model_with_a_limit_cuts_answers_short() -> None:
    (longest,) = [r for r in records(40) if r.output_tokens == 135]
    longest_allowed = longest.input_tokens + longest.output_tokens - 5
    chosen = configured(more=f"engine: {{max_model_len: {longest_allowed}}}")
    trace = requests([records(40)], chosen, 1.0, 0)
    served = replay(chosen, trace)
    assert np.isinf(times_alone(trace, chosen)[1]).tolist() == np.isnan(served.finish).tolist()
    fits = ~np.isnan(served.finish)
    assert not fits.all()
    assert served_tokens(trace, chosen)[fits].tolist() == served.output_tokens[fits].tolist()
    assert (served.output_tokens < [t.output_tokens for t in trace]).any()


def test_least_work_looks_at_work_and_not_at_heads() -> None:
    """One long answer is worth many short ones."""
    lengths = [1000, 10, 10, 10, 10]
    trace = _at_once(lengths)
    parts = split(trace, 2, Routing.least_work, configured("oracle"), 0)
    assert [[t.output_tokens for t in part] for part in parts] == [[1000], [10, 10, 10, 10]]
    told_nothing = split(trace, 2, Routing.least_work, configured("declared"), 0)
    assert [len(part) for part in told_nothing] == [3, 2]


def test_idle_replicas_take_turns() -> None:
    """Requests far apart find everybody idle, and are shared all the same."""
    chosen = configured("history")
    trace = requests([records(20, gap=100.0)], chosen, 1.0, 0)
    sizes = [len(part) for part in split(trace, 4, Routing.least_work, chosen, 0)]
    assert min(sizes) >= 3


def test_seeds_move_random_routes_alone() -> None:
    chosen = configured("history")
    trace = requests([records(30)], chosen, 1.0, 0)
    for routing in Routing:
        differ = split(trace, 3, routing, chosen, 0) != split(trace, 3, routing, chosen, 1)
        assert differ == (routing is Routing.random)


def _at_once(lengths: list[int]) -> list[TracedRequest]:
    (first, *_) = requests([records(1)], configured(), 1.0, 0)
    return [
        replace(first, request=replace(first.request, request_id=f"r{i}"), output_tokens=n)
        for i, n in enumerate(lengths)
    ]
