"""What a predictor learns from: prompts, and the answers that were given to them."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

import numpy as np

from slosched.core.errors import ModelError
from slosched.traces import TraceRecord, read
from slosched.traces.sharegpt import Turn, is_sharegpt, tokens, turns

ANSWERS_PER_CONVERSATION = 3
LONGEST_ANSWER = 4096  # tokens; ShareGPT has a few of 10 times that, which no model said
SHARES = {"train": 0.7, "stop": 0.1, "calibrate": 0.1, "test": 0.1}


@dataclass(frozen=True, slots=True)
class Example:
    """One request that was answered.

    Parameters
    ----------
    prompt
        The last message of the prompt: what is asked.
    input_tokens, output_tokens
        Lengths of the whole prompt, with what was said before, and of the whole answer.
    group
        Examples of the same group learn and are tried together: a conversation's.
    opens
        Whether nothing was said before.
    slo_class, tenant
        For predictors that go by these.
    max_tokens
        Bound on the answer that the client set; an answer of as many was cut off by it.
    """

    prompt: str
    answer: str
    input_tokens: int
    output_tokens: int
    group: str = ""
    opens: bool = True
    slo_class: str = ""
    tenant: str = ""
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """Examples by what they are for; no prompt that is learned from is in another part.

    Parameters
    ----------
    train, stop
        To learn from, and to see when to stop.
    calibrate, test
        To learn how wrong the model is, and to tell people.
    """

    train: list[Example]
    stop: list[Example]
    calibrate: list[Example]
    test: list[Example]


def read_examples(paths: Sequence[Path], limit: int | None = None) -> list[Example]:
    """Read requests with a prompt: of ShareGPT every answer, of other traces every line.

    Parameters
    ----------
    limit
        Conversations or lines of each file.

    Raises
    ------
    TraceError
        If a file cannot be read.
    ModelError
        If no request has a prompt.
    """
    found: list[Example] = []
    for path in paths:
        if is_sharegpt(path):
            found += [one for one in map(_of_turn, turns(path, limit)) if _is_answer(one)]
        else:
            found += [_of_record(r) for r in read(path, limit, ordered=False) if r.prompt]
    if not found:
        raise ModelError(
            f"{', '.join(map(str, paths))}: no request has a prompt to learn from; a request log "
            "has them with request_log.texts: true"
        )
    return found


def _of_turn(turn: Turn) -> Example:
    lengths = turn.prompt_tokens, tokens(turn.answer)
    opens = turn.prompt_tokens == tokens(turn.question)
    return Example(turn.question, turn.answer, *lengths, turn.conversation, opens)


def _is_answer(example: Example) -> bool:
    return example.output_tokens <= LONGEST_ANSWER


def _of_record(record: TraceRecord) -> Example:
    return Example(
        record.prompt or "",
        record.answer or "",
        record.input_tokens,
        record.output_tokens,
        slo_class=record.slo_class or "",
        tenant=record.tenant,
        max_tokens=record.max_tokens,
    )


def recounted(
    examples: Iterable[Example], count: Callable[[Sequence[str]], list[int]]
) -> list[Example]:
    """Count the tokens of messages and answers anew that were estimated from their characters."""
    examples = list(examples)
    prompts = count([example.prompt for example in examples])
    answers = count([example.answer for example in examples])
    return [
        replace(
            example,
            input_tokens=max(example.input_tokens - tokens(example.prompt), 0) + prompt,
            output_tokens=answer if example.answer else example.output_tokens,
        )
        for example, prompt, answer in zip(examples, prompts, answers, strict=True)
    ]


def split(examples: Iterable[Example], seed: int, most: int = ANSWERS_PER_CONVERSATION) -> Split:
    """Part examples at random, but for those of a group, or of the same prompt if there is none.

    What is learned from, the same answer to the same prompt, is left out of the other parts.

    Parameters
    ----------
    most
        Examples of a group, drawn at random, so that long conversations do not outweigh all
        others.

    Raises
    ------
    ModelError
        If a part would be left without examples, or all lengths are the same.
    """
    parts: dict[str, list[Example]] = {name: [] for name in SHARES}
    upto = np.cumsum(list(SHARES.values()))
    upto[-1] = 1.0
    for example in _some_of_each(examples, seed, most):
        digest = blake2b(f"{seed}:{example.group or example.prompt}".encode(), digest_size=8)
        drawn = int.from_bytes(digest.digest(), "big") / 2**64
        parts[list(SHARES)[int(np.searchsorted(upto, drawn, side="right"))]].append(example)
    learned = {(example.prompt, example.answer) for example in parts["train"]}
    for name, members in parts.items():
        if name != "train":
            members[:] = [one for one in members if (one.prompt, one.answer) not in learned]
        if not members:
            raise ModelError(f"too few examples to train on: none is left to {name}")
    if len({example.output_tokens for example in parts["train"]}) == 1:
        raise ModelError("all answers have the same length: there is nothing to learn")
    return Split(**parts)


def _some_of_each(examples: Iterable[Example], seed: int, most: int) -> Iterable[Example]:
    """Draw at most so many examples of each group; those without one are all taken."""
    examples = list(examples)
    taken: Counter[str] = Counter()
    kept = []
    for i in np.random.default_rng(seed).permutation(len(examples)).tolist():
        group = examples[i].group
        taken[group] += 1
        if not group or taken[group] <= most:
            kept.append(i)
    return [examples[i] for i in sorted(kept)]
