"""What a streamed answer is counted as, whatever pieces it comes in."""

import json
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched.client.answer import Answer
from slosched.client.chunk import BrokenStreamError, Chunk, read_chunk
from slosched.client.sse import Events

pieces = st.lists(st.integers(1, 5), min_size=1, max_size=20)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"))), st.data())
def test_events_are_the_same_however_the_stream_is_cut(
    texts: list[str], data: st.DataObject
) -> None:
    payloads = [text.strip().encode() for text in texts]
    stream = b"".join(b": ping\r\n\r\ndata: %b\r\n\r\n" % payload for payload in payloads)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    events = Events()
    parts = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    found = [payload for part in parts for payload in events.feed(part)]
    assert [payload.strip() for payload in found] == [payload.strip() for payload in payloads]


@given(pieces)
def test_tokens_that_the_server_counts_along_are_believed(sizes: list[int]) -> None:
    answer = told([(True, tokens) for tokens in accumulate(sizes)])
    assert answer.counted
    assert answer.counts == list(accumulate(sizes))
    check_gaps(answer)


@given(pieces)
def test_a_total_is_spread_over_the_pieces(sizes: list[int]) -> None:
    answer = told([(True, None) for _ in sizes], total=sum(sizes))
    assert answer.tokens == sum(sizes)
    assert len(answer.times) == len(sizes)
    assert answer.counts == sorted(answer.counts)
    assert answer.counts[0] == (1 if len(sizes) > 1 else sum(sizes))
    check_gaps(answer)


@given(pieces)
def test_without_any_count_a_piece_is_a_token(sizes: list[int]) -> None:
    answer = told([(True, None) for _ in sizes])
    assert not answer.counted
    assert answer.tokens == len(sizes)
    check_gaps(answer)


def test_a_total_in_the_last_piece_is_of_the_whole_answer() -> None:
    answer = told([(True, None), (True, None), (True, 9)])
    assert (answer.tokens, len(answer.times), answer.counted) == (9, 3, True)


def test_a_piece_that_only_names_the_role_is_no_token() -> None:
    answer = told([(False, 0), (True, 1)])
    assert answer.counts == [1]
    answer = told([(False, None), (True, None)], total=1)
    assert answer.counts == [1]


def told(pieces: list[tuple[bool, int | None]], total: int | None = None) -> Answer:
    answer = Answer()
    for speaks, tokens in pieces:
        answer.take(Chunk(speaks, tokens, None, sums_up=False, finish_reason=""))
    if total is not None:
        answer.take(Chunk(False, total, 5, sums_up=True, finish_reason=""))
        assert answer.prompt_tokens == 5
    return answer


def check_gaps(answer: Answer) -> None:
    """As many gaps as tokens after the first, and no time is lost or made up."""
    answer.times = list(np.cumsum(np.arange(1.0, len(answer.times) + 1)))
    assert len(answer.gaps) == answer.tokens - 1
    assert answer.gaps.sum() == pytest.approx(answer.last - answer.first)
    assert (answer.gaps >= 0).all()


def test_pieces_of_both_interfaces_are_read() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    text = {"choices": [{"index": 0, "text": "a", "finish_reason": "length"}], "usage": usage}
    assert read_chunk(json.dumps(text).encode()) == Chunk(True, 2, 3, False, "length")
    chat = {"choices": [{"index": 0, "delta": {"reasoning_content": "hm"}}], "usage": None}
    assert read_chunk(json.dumps(chat).encode()) == Chunk(True, None, None, False, "")
    last = {"choices": [], "usage": usage}
    assert read_chunk(json.dumps(last).encode()) == Chunk(False, 2, 3, True, "")


@given(
    st.binary(max_size=30)
    | st.builds(
        lambda x: json.dumps(x).encode(),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=3),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["choices", "usage", "text"]), inner, max_size=3)
            ),
        ),
    )
)
def test_junk_is_read_or_refused(payload: bytes) -> None:
    try:
        assert isinstance(read_chunk(payload), Chunk)
    except BrokenStreamError as error:
        assert error.kind == "malformed"  # noqa: PT017 - either outcome is fine, each in its way


def test_an_error_within_a_stream_keeps_its_status() -> None:
    with pytest.raises(BrokenStreamError, match="out of memory") as caught:
        read_chunk(b'{"error": {"message": "out of memory", "code": 500}}')
    assert caught.value.kind == "500"
