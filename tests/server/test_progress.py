"""Latencies from chunks that are cut anywhere."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched_server.progress import Progress
from slosched_server.settings import ServerSettings

STREAM = b'data: {"a":1}\n\ndata: {"b":"data:"}\r\n\r\n: comment\n\ndata: 3\n\ndata: [DONE]\n\n'


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_events_are_counted_wherever_the_chunks_are_cut(cuts: list[int]) -> None:
    progress = Progress(0.0, stream=True)
    edges = [0, *sorted(cuts), len(STREAM)]
    for now, (start, end) in enumerate(pairwise(edges)):
        progress.chunk(STREAM[start:end], float(now))
    assert progress.events == 3


def test_time_per_token_is_from_the_first_event_to_the_last() -> None:
    progress = Progress(1.0, stream=True)
    for now in (3.0, 4.0, 7.0):
        progress.chunk(b"data: x\n\n", now)
    progress.chunk(b"data: [DONE]\n\n", 50.0)
    assert (progress.ttft, progress.tpot) == (2.0, 2.0)


def test_of_an_answer_in_one_piece_only_the_end_is_known() -> None:
    progress = Progress(0.0)
    progress.chunk(b"data: x\n\ndata: y\n\n", 1.0)
    assert (progress.ttft, progress.tpot) == (None, None)


@pytest.mark.parametrize(
    "field",
    [
        {"host": ""},
        {"port": 65536},
        {"on_engine_exit": "panic"},
        {"max_restarts": -1},
        {"engine_start_timeout_s": 0.0},
        {"drain_timeout_s": float("nan")},
        {"connect_timeout_s": float("inf")},
        {"max_body_bytes": 0},
    ],
)
def test_a_setting_out_of_bounds_is_named(field: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(field))}: "):
        ServerSettings(**field)  # type: ignore[arg-type]
