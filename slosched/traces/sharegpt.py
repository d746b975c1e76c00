"""ShareGPT's conversations: a JSON list of `{"id", "conversations": [{"from", "value"}]}`.

Of each conversation that starts with a human turn and an answer, these two are the request; the
others have none. The file knows neither times, so all are 0, nor tokens, so a length is estimated
as a quarter of the characters, at least 1.
"""

import json
import re
from codecs import getincrementaldecoder
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple

import structlog

from slosched.core.errors import TraceError
from slosched.core.transcript import CHARACTERS_PER_TOKEN
from slosched.traces.lines import BadLineError, shorten
from slosched.traces.record import TraceRecord

_CHUNK = 1 << 20  # bytes
# The decoder reports a word or escape that is cut off at its start: "\ud83d\ude00", "false".
_LONGEST_ATOM = 12
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BLANK = re.compile(r"[ \t\r\n]*")
_log = structlog.get_logger()


def records(items: "Items", source: str) -> Iterator[TraceRecord]:
    """Read the records; BadLineError at the first conversation that is wrong."""
    number = others = 0
    for item in items:
        pair = _first_turns(item)
        if pair is None:
            others += 1
            continue
        prompt, answer = pair
        lengths = tokens(prompt), tokens(answer)
        yield TraceRecord(str(number), 0.0, *lengths, source, prompt, answer=answer)
        number += 1
    if not number:
        raise BadLineError("no conversation starts with a human turn and an answer")
    if others:
        _log.info("conversations without a first question and answer", trace=source, count=others)
    if items.cut_off:
        _log.warning(
            "trace is cut off, read up to its last whole conversation",
            trace=source,
            line=items.number,
            requests=number,
        )


class Turn(NamedTuple):
    """A question and its answer.

    Parameters
    ----------
    conversation
        Its id, without the number of the part that ShareGPT's cleaned files cut it into.
    prompt_tokens
        Estimate for all that was said by then, the question included.
    """

    conversation: str
    question: str
    answer: str
    prompt_tokens: int


def turns(path: Path, limit: int | None = None) -> Iterator[Turn]:
    """Read every answer of the first `limit` conversations; TraceError at the first wrong one.

    A part of a conversation that begins in its middle is read from there.
    """
    try:
        with path.open("rb") as stream:
            items = Items(stream)
            try:
                for number, item in enumerate(islice(items, limit)):
                    yield from _turns(item, str(number))
            except BadLineError as error:
                raise TraceError(f"{path}:{items.number}: {error}") from None
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror}") from None


def is_sharegpt(path: Path) -> bool:
    """Whether a file is a JSON list; TraceError if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return stream.read(64).removeprefix(BYTE_ORDER_MARK).lstrip().startswith(b"[")
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror}") from None


def _turns(item: object, number: str) -> Iterator[Turn]:
    said = [_turn(turn) for turn in _conversation(item)]
    name = item.get("id") if isinstance(item, dict) else None
    conversation = name.rpartition("_")[0] or name if isinstance(name, str) else number
    before = 0  # characters, with two between messages
    for (asks, question), (answers, answer) in pairwise(said):
        if (asks, answers) == ("human", "gpt") and question and answer:
            yield Turn(conversation, question, answer, _tokens_of(before + len(question)))
        before += len(question) + 2


def tokens(text: str) -> int:
    """Estimate the tokens of a text from its characters."""
    return _tokens_of(len(text))


def _tokens_of(characters: int) -> int:
    return max(1, round(characters / CHARACTERS_PER_TOKEN))


def _first_turns(item: object) -> tuple[str, str] | None:
    """Return the first question and its answer; None if the conversation starts otherwise."""
    said = [_turn(turn) for turn in _conversation(item)[:2]]
    if [sender for sender, _ in said] != ["human", "gpt"]:
        return None
    (_, question), (_, answer) = said
    return question, answer


def _conversation(item: object) -> list[object]:
    turns = item.get("conversations") if isinstance(item, dict) else None
    if not isinstance(turns, list):
        raise BadLineError(f"must be an object with a list of conversations, got {shorten(item)}")
    return turns


def _turn(turn: object) -> tuple[str, str]:
    """Return who says what."""
    sender, text = (turn.get("from"), turn.get("value")) if isinstance(turn, dict) else (0, 0)
    if not isinstance(sender, str) or not isinstance(text, str):
        raise BadLineError(f"a turn must have the texts from and value, got {shorten(turn)}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadLineError("a text holds half a surrogate pair, which is no Unicode") from None
    return sender, text


class Items:
    """The items of a JSON list, decoded one at a time; `number` is the line of the newest.

    Parameters
    ----------
    stream
        The file; it may end anywhere: `cut_off` then tells so.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._utf8 = getincrementaldecoder("utf-8-sig")()
        self._buffer = ""
        self._at = 0  # how much of the buffer is done with
        self._line = 1
        self.number = 1
        self.cut_off = False

    def __iter__(self) -> Iterator[object]:
        """Decode the items; BadLineError if the text is no JSON list."""
        self._expect("[")
        if self._peek() == "]":
            return
        while (item := self._item()) is not None:
            yield item[0]
            if self._peek() == "]":
                self._skip_to(self._at + 1)
                if self._peek():
                    raise self._bad(f"must end after the list, got {self._peek()!r}")
                return
            if not self._expect(","):
                break
        self.cut_off = True

    def _item(self) -> tuple[object] | None:
        """Decode one item, in a tuple as it may be null; None if the file ends before it does."""
        self._peek()
        self.number = self._line
        decoder = json.JSONDecoder()
        while True:
            try:
                item, end = decoder.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                left = len(self._buffer) - error.pos
                if left > _LONGEST_ATOM and not error.msg.startswith("Unterminated string"):
                    self._skip_to(error.pos)
                    raise self._bad(f"is no JSON: {error.msg}") from None
            except (RecursionError, ValueError) as error:
                raise BadLineError(f"is no JSON: {error}") from None
            else:
                self._skip_to(end)
                return (item,)
            # Twice as much each time, so that a long item is not decoded over and over.
            if not self._more(max(_CHUNK, len(self._buffer) - self._at)):
                return None

    def _expect(self, mark: str) -> bool:
        """Step over a punctuation mark; False if the file ends before it."""
        found = self._peek()
        if found and found != mark:
            raise self._bad(f"is no JSON list: expected {mark!r}, got {found!r}")
        self._skip_to(self._at + len(found))
        return bool(found)

    def _peek(self) -> str:
        """Return the next character that is no white space; "" at the end of the file."""
        while True:
            blank = _BLANK.match(self._buffer, self._at)
            self._skip_to(blank.end() if blank else self._at)
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._more(_CHUNK):
                return ""

    def _skip_to(self, end: int) -> None:
        self._line += self._buffer.count("\n", self._at, end)
        self._at = end

    def _more(self, size: int) -> bool:
        """Read on; False at the end of the file, where half a character may be left over."""
        raw = self._stream.read(size)
        self._buffer, self._at = self._buffer[self._at :], 0
        try:
            self._buffer += self._utf8.decode(raw)
        except UnicodeDecodeError as error:
            self._skip_to(len(self._buffer))
            self._line += error.object.count(b"\n", 0, error.start)
            raise self._bad("must be UTF-8") from None
        return bool(raw)

    def _bad(self, problem: str) -> BadLineError:
        self.number = self._line
        return BadLineError(problem)
