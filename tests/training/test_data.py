"""What is learned from: examples, their parts, and answers cut short."""

from collections import Counter
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched.core.errors import ModelError, TraceError
from slosched.core.transcript import Said
from slosched.training.cuts import cut_at, every_so_often
from slosched.training.evaluate import predicted
from slosched.training.examples import SHARES, Example, read_examples, recounted, split


def example(i: int, length: int = 100) -> Example:
    return Example(f"prompt {i}", "word " * length, 5, length)


@given(st.integers(0, 10), st.lists(st.integers(0, 300), min_size=200, max_size=400))
def test_nobody_is_tried_on_a_prompt_that_it_learned(seed: int, prompts: list[int]) -> None:
    examples = [example(p, 1 + i) for i, p in enumerate(prompts)]
    try:
        parts = split(examples, seed)
    except ModelError:
        return  # a part is empty
    seen = [{e.prompt for e in getattr(parts, name)} for name in SHARES]
    for i, one in enumerate(seen):
        for other in seen[i + 1 :]:
            assert not one & other
    assert sum(len(getattr(parts, name)) for name in SHARES) == len(examples)


def test_parts_are_as_large_as_they_should_be_and_stay_the_same() -> None:
    examples = [example(i, 1 + i) for i in range(5000)]
    parts = split(examples, 0)
    for name, share in SHARES.items():
        assert len(getattr(parts, name)) == pytest.approx(5000 * share, rel=0.1)
    assert {e.prompt for e in split(examples[:2500], 0).test} <= {e.prompt for e in parts.test}


@given(st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=60), st.integers(1, 4))
def test_long_conversations_do_not_outweigh_others(groups: list[str], most: int) -> None:
    """Of each so many at most; of requests that are in none, all."""
    fill = [Example(f"p{i}", "x", 5, 1 + i, group=f"g{i}") for i in range(300)]
    examples = [Example(f"q{i}", "y", 5, 9, group=name) for i, name in enumerate(groups)]
    parts = split([*examples, *fill], 0, most)
    kept = Counter(e.group for name in SHARES for e in getattr(parts, name) if e.answer == "y")
    assert kept == {g: n if not g else min(n, most) for g, n in Counter(groups).items()}


def test_of_a_conversation_the_question_is_read_and_all_of_it_counted(tmp_path: Path) -> None:
    said = ["Who?" * 2, "Me." * 8, "Why?" * 4, "So." * 4, "gone", "x" * 40_000]
    turns = [{"from": w, "value": v} for w, v in zip(("human", "gpt") * 3, said, strict=True)]
    path = tmp_path / "sharegpt.json"
    path.write_bytes(orjson.dumps([{"id": "c_0", "conversations": turns}]))
    first, second = read_examples([path])
    assert (first.prompt, first.answer, first.opens, first.group) == (said[0], said[1], True, "c")
    assert (second.prompt, second.answer, second.opens) == (said[2], said[3], False)
    assert second.input_tokens == round(len("\n\n".join(said[:3])) / 4)


@pytest.mark.parametrize(
    ("examples", "problem"),
    [
        ([example(1)], "too few examples"),
        ([example(i) for i in range(500)], "all answers have the same length"),
    ],
)
def test_too_little_to_learn_from(examples: list[Example], problem: str) -> None:
    with pytest.raises(ModelError, match=problem):
        split(examples, 0)


@given(st.integers(1, 400), st.integers(0, 400))
def test_a_cut_shows_what_is_out_and_no_more(length: int, out: int) -> None:
    whole = Example("p", "".join(f"{i:04d}" for i in range(length)), 3, length)
    if out >= length:
        return
    cuts = cut_at([whole], [(0, out)])
    assert cuts.said[0].answer == whole.answer[: 4 * out]
    assert (cuts.produced[0], cuts.left[0]) == (out, length - out)


def test_a_bound_of_the_client_cuts_answers_off(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    line = {"timestamp": 0, "input_length": 5, "prompt": "p", "answer": "abcdef"}
    lines = [
        line | {"output_length": length, "max_tokens": most}
        for length, most in ((100, 100), (99, 100), (100, None))
    ]
    path.write_bytes(b"\n".join(map(orjson.dumps, lines)))
    cuts = cut_at(read_examples([path]), [(i, out) for i in range(3) for out in (0, 40)])
    assert cuts.most.tolist() == [100, 60, 100, 60, np.inf, np.inf]
    assert cuts.cut_off.tolist() == [True, True, False, False, False, False]


def test_nothing_is_expected_beyond_a_bound() -> None:
    """Of a model that says more, at every level."""

    class Sure:
        def quantiles(self, said: list[Said], _: list[int]) -> np.ndarray:
            return np.full((len(said), 13), 300.0)

    examples = [Example("p", "a" * 90, 3, 90, max_tokens=90), Example("p", "a", 3, 90)]
    cuts = cut_at(examples, [(0, 0), (0, 50), (1, 0)])
    expected = predicted(Sure(), cuts)  # type: ignore[arg-type]
    assert expected[:, 6].tolist() == [90, 40, 300]


def test_answers_are_cut_before_the_first_token_and_now_and_then() -> None:
    examples = [example(0, 30), example(1, 120), example(2, 5000)]
    whole = every_so_often(examples, "apart", 50, 0, thin=False)
    by_example = [whole.produced[whole.of == i].tolist() for i in range(3)]
    assert by_example[0] == [0]
    assert by_example[1] == [0, 50, 100]
    assert by_example[2] == list(range(0, 5000, 50))
    assert len(every_so_often(examples, "prompt", 50, 0, thin=False)) == 3


def test_long_answers_are_cut_less_often_and_short_ones_as_often_as_they_come_by() -> None:
    """Wherever answers are cut, those that end soon are as many as there are of them."""
    examples = [example(i, 130 if i % 4 else 2000) for i in range(4000)]
    cuts = every_so_often(examples, "apart", 50, 0, thin=True)
    assert len(cuts) < 4000 * 5
    assert all(out % 50 == 0 for out in cuts.produced)
    for out in (50, 100):
        short = cuts.left[cuts.produced == out] < 130
        assert abs(short.mean() - 0.75) < 0.03


def test_lengths_are_counted_anew_where_they_are_estimates() -> None:
    [counted] = recounted(
        [Example("a b c", "d e", 21, 99)], lambda texts: [len(t.split()) for t in texts]
    )
    assert (counted.input_tokens, counted.output_tokens) == (23, 2), "20 were said before"
    [kept] = recounted(
        [Example("a b c", "", 99, 99)], lambda texts: [len(t.split()) for t in texts]
    )
    assert kept.output_tokens == 99


def test_request_logs_are_read_whatever_their_order(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    lines = [
        {"timestamp": at, "input_length": 5, "output_length": 7, "prompt": f"p{at}", "answer": "x"}
        for at in (30, 10, 20)
    ]
    path.write_bytes(b"\n".join(map(orjson.dumps, lines)))
    assert [e.prompt for e in read_examples([path])] == ["p30", "p10", "p20"]


def test_a_log_without_prompts(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_bytes(orjson.dumps({"timestamp": 0, "input_length": 5, "output_length": 7}))
    with pytest.raises(ModelError, match="no request has a prompt"):
        read_examples([path])
    with pytest.raises(TraceError, match="No such file"):
        read_examples([tmp_path / "missing.jsonl"])


def test_embeddings_are_read_once(tmp_path: Path) -> None:
    from slosched.training.embeddings import EmbeddingCache
    from tests.predictors.parts import ByLength

    encoder = ByLength()
    cache = EmbeddingCache(tmp_path, encoder, "by length")
    texts = ["a", "bb", "a", "ccc"]
    first = cache.encode(texts)
    assert encoder.read == ["a", "bb", "ccc"]
    np.testing.assert_array_equal(
        EmbeddingCache(tmp_path, encoder, "by length").encode(texts), first
    )
    assert encoder.read == ["a", "bb", "ccc"]
    cache.encode(texts, last=1)
    EmbeddingCache(tmp_path, encoder, "another").encode(texts)
    assert len(encoder.read) == 9
