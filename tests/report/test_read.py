"""Result files that are read, and what is said of those that cannot be."""

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slosched import EngineLimits, TracedRequest
from slosched.policies.fcfs import Fcfs
from slosched.report.comparison import comparison
from slosched.report.read import ResultError, read
from tests.report.made import drawn, requests, result, simulated
from tests.report.pages import Tags
from tests.strategies import engine_limits, traces

LAST = result(("fcfs",), (1.0,), 12)["runs"][0]


def refused(folder: Path, content: object) -> str:
    path = folder / "runs.json"
    path.write_bytes(content if isinstance(content, bytes) else orjson.dumps(content))
    with pytest.raises(ResultError) as error:
        read([path])
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith(str(path))
    return text.removeprefix(str(path))


def changed(**fields: object) -> dict[str, Any]:
    run = LAST | fields
    return {"runs": [LAST | {"load": 3.0}, {k: v for k, v in run.items() if v is not ...}]}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", ":1:1: is no JSON"),
        (b'{"runs": [\n  {"policy": fcfs}]}', ":2:14: is no JSON"),
        (b"\xff\xfe", ":1:1: is no JSON"),
        ([1, 2], ": is no result but a JSON list"),
        (7, ": is no result but a JSON number"),
        ("text", ": is no result but a JSON text"),
        ({}, ": is no result, neither runs nor slo_attainment is in it; slosched simulate -o"),
        ({"ttfts": [0.1]}, ": is no result, neither runs nor slo_attainment is in it"),
        ({"runs": []}, ": runs: is empty; slosched simulate -o FILE and slosched bench write"),
        ({"runs": 3}, ": runs: must be a list of runs"),
        ({"runs": [3]}, ": runs[0]: must be a JSON object, got 3"),
        (changed(slo_attainment=...), ": runs[1].slo_attainment: is missing"),
        (changed(completed=...), ": runs[1].completed: is missing"),
        (changed(per_class=...), ": runs[1].per_class: is missing"),
        (changed(slo_attainment=76.1), ": runs[1].slo_attainment: input should be less than or"),
        (changed(slo_attainment="76%"), ": runs[1].slo_attainment: input should be a valid number"),
        (changed(load=0), ": runs[1].load: input should be greater than 0, got 0"),
        (changed(per_class={"chat": {}}), ": runs[1].per_class.chat.slo_attainment: is missing"),
        (changed(mean_ttft_ms="1"), ": runs[1].mean_ttft_ms: input should be a valid number"),
        (changed(ttfts_ms=...), ": runs[1].ttfts_ms: is missing"),
        (changed(ttfts_ms=[1.0] * 11), ": runs[1].ttfts_ms: holds 11 values, request_ids 12"),
        (changed(request_ids=["a"]), ": runs[1].request_ids: holds 1 values, slo_classes 12"),
        (changed(ttfts_ms=["1"] * 12), ": runs[1].ttfts_ms: must hold numbers and null only, got"),
        (changed(ttfts_ms=[True] * 12), ": runs[1].ttfts_ms: must hold numbers and null only, got"),
        (changed(ttfts_ms=[-1.0] * 12), ": runs[1].ttfts_ms: must hold times from 0 on, got -1"),
        (changed(slo_met=[1] * 12), ": runs[1].slo_met: must hold true and false only, got 1"),
        (changed(arrivals_ms=[None] * 12), ": runs[1].arrivals_ms: must hold a number for every"),
        (changed(request_ids=["a"] * 12), ": runs[1].request_ids: 'a' comes twice"),
        (changed(request_ids="abc"), ": runs[1].request_ids: must be a list of texts"),
        (LAST | {"completed": -1}, ": completed: input should be greater than or equal to 0"),
    ],
)
def test_what_is_no_result_is_named_by_file_and_field(
    tmp_path: Path, content: object, complaint: str
) -> None:
    assert refused(tmp_path, content).startswith(complaint)


def test_a_name_with_an_escape_sequence_does_not_reach_the_terminal(tmp_path: Path) -> None:
    text = refused(tmp_path, changed(per_class={"\x1b[2J\n": {}}))
    assert "\x1b" not in text


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match=r"none\.json: No such file or directory"):
        read([tmp_path / "none.json"])
    with pytest.raises(ResultError, match="Is a directory"):
        read([tmp_path])


junk = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(allow_nan=False), st.text(max_size=4)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(max_examples=100)
@given(st.sampled_from(sorted(LAST)), junk)
def test_whatever_a_field_holds_is_drawn_or_refused_in_a_line(
    tmp_path_factory: pytest.TempPathFactory, field: str, value: object
) -> None:
    path = tmp_path_factory.getbasetemp() / "junk.json"
    path.write_bytes(orjson.dumps(LAST | {field: value}))
    problem = ""
    try:
        page = comparison(read([path]))
    except ResultError as error:
        problem = str(error)
    if problem:
        assert problem.startswith(f"{path}: {field}")
        assert "\n" not in problem
    else:
        assert not Tags(page.decode()).open


@settings(max_examples=60)
@given(traces(), engine_limits())
def test_arrays_say_when_everything_happened_and_what_was_asked(
    trace: list[TracedRequest], limits: EngineLimits
) -> None:
    """What is read is what was simulated, and met is who kept each limit that is read."""
    records = simulated(trace, Fcfs(), limits)
    run = requests(records)
    assert run.arrival is not None
    first = records.arrival.min()
    np.testing.assert_allclose(run.arrival, records.arrival - first, atol=1e-9)
    np.testing.assert_allclose(run.arrival + run.ttft, records.first_token - first, atol=1e-9)
    np.testing.assert_allclose(run.arrival + run.e2e, records.finish - first, atol=1e-9)
    kept = np.ones(len(run), dtype=bool)
    for metric in ("ttft", "tpot", "e2e"):
        limit = getattr(run, f"{metric}_limit")
        assert limit.tolist() == pytest.approx([getattr(t.request.slo, metric) for t in trace])
        kept &= getattr(run, metric) <= limit * (1 + 1e-9)
    np.testing.assert_array_equal(run.met, kept)


def test_one_run_alone_is_a_result_too(tmp_path: Path) -> None:
    live = {k: v for k, v in LAST.items() if k not in ("load", "policy", "trace", "seed")}
    path = tmp_path / "live.json"
    path.write_bytes(orjson.dumps(live))
    (run,) = read([path]).runs
    assert (run.label, run.title, run.load) == ("live", "live", None)
    assert run.requests is not None
    assert len(run.requests) == 12


def test_limits_come_from_the_configuration_where_arrays_have_none(tmp_path: Path) -> None:
    old = {k: v for k, v in LAST.items() if "_limits_" not in k}
    path = tmp_path / "old.json"
    path.write_bytes(orjson.dumps(old))
    (run,) = read([path]).runs
    new = requests(simulated(drawn(1.0, 12), Fcfs()))
    assert run.requests is not None
    for metric in ("ttft", "tpot", "e2e"):
        np.testing.assert_array_equal(
            getattr(run.requests, f"{metric}_limit"), getattr(new, f"{metric}_limit")
        )


@pytest.mark.parametrize(
    "config",
    [{}, {"classes": None}, {"classes": {"chat": 3}}, {"classes": {"chat": {"ttft_ms": "x"}}}],
)
def test_without_known_limits_none_is_invented(tmp_path: Path, config: dict[str, Any]) -> None:
    run = {k: v for k, v in LAST.items() if "_limits_" not in k} | {"config": config}
    path = tmp_path / "run.json"
    path.write_bytes(orjson.dumps(run))
    (read_run,) = read([path]).runs
    assert read_run.requests is not None
    assert read_run.requests.limited("chat") == ["ttft", "tpot", "e2e"]
    assert np.isinf(read_run.requests.ttft_limit).all()
