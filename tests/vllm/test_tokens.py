"""Tier B, law 10: ordering changes no token, on the real engine with the tiny model."""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from vllm import LLM, SamplingParams
from vllm.triton_utils import dispatcher

from slosched.core.latency import LinearLatency
from slosched.core.tags import Tagger
from slosched.planner import Planner
from slosched.policies.fcfs import Fcfs
from slosched.vllm.scheduler import SloScheduler
from tests.vllm.harness import CLASSES, LATENCY, AtRandom, make_planner

pytestmark = [
    pytest.mark.engine,
    # vLLM and torch warn of their own deprecations while a model loads.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

PROMPTS = [f"{i}: " + "the quick brown fox "[: 3 + i % 17] * (1 + i % 5) for i in range(24)]
LENGTHS = [8 + 5 * i % 41 for i in range(24)]
PLENTY, SCARCE = 400, 9  # blocks of 32 tokens; the longest request needs 5, and 4 run at once


class Hooked(SloScheduler):
    """Plans by whatever the test wants."""

    planner: ClassVar[Planner]

    def _build(self) -> tuple[Tagger, Planner, LinearLatency, None]:
        return Tagger(CLASSES, "batch"), make_planner(Fcfs()), LATENCY, None


@pytest.fixture(scope="module", autouse=True)
def vllm_beside_numba() -> Iterator[None]:
    """Let vLLM 0.32 start on CPU where llvmlite was imported before it.

    It looks through `vars()` of all that is in `sys.modules`, and trips over a wrapper of a C
    function whose `__dict__` is no dictionary. Engine processes import numba later than that.
    """

    def dictionary(value: object) -> object:
        found = vars(value)
        return found if hasattr(found, "get") else {}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatcher, "vars", dictionary, raising=False)
        yield


def start(model: Path, blocks: int, scheduler_cls: type | None) -> LLM:
    return LLM(
        str(model),
        dtype="float32",
        enforce_eager=True,
        max_model_len=192,
        max_num_seqs=4,
        max_num_batched_tokens=64,
        block_size=32,  # what attention on CPU takes
        num_gpu_blocks_override=blocks,
        scheduler_cls=scheduler_cls,
        disable_log_stats=False,
    )


def tokens(llm: LLM) -> list[list[int]]:
    params = [SamplingParams(temperature=0, max_tokens=n, ignore_eos=True) for n in LENGTHS]
    outputs = llm.generate(PROMPTS, params, use_tqdm=False)
    return [list(output.outputs[0].token_ids) for output in outputs]


def scheduler(llm: LLM) -> Any:
    return llm.llm_engine.engine_core.engine_core.scheduler


@pytest.fixture(scope="module")
def unhooked(tiny_model: Path) -> list[list[int]]:
    llm = start(tiny_model, PLENTY, None)
    assert not isinstance(scheduler(llm), SloScheduler)
    said = tokens(llm)
    stop(llm)
    return said


def stop(llm: LLM) -> None:
    llm.llm_engine.engine_core.shutdown()
    gc.collect()


@pytest.fixture(scope="module", params=[PLENTY, SCARCE], ids=["plenty of KV", "want of KV"])
def hooked(tiny_model: Path, request: pytest.FixtureRequest) -> Iterator[LLM]:
    llm = start(tiny_model, request.param, Hooked)
    yield llm
    stop(llm)


@pytest.mark.parametrize("share", [0.0, 0.3], ids=["reordered", "preempted"])
def test_ordering_changes_no_token(unhooked: list[list[int]], hooked: LLM, share: float) -> None:
    """Law 10: whatever the order, the preemptions and the KV pressure, the tokens are the same."""
    engine = scheduler(hooked)
    planner = make_planner(AtRandom(np.random.default_rng(7), share))
    engine._follow(planner)
    preempted: list[int] = []
    preempt = engine._preempt

    def noting(rows: list[int]) -> None:
        preempted.extend(rows)
        preempt(rows)

    engine._preempt = noting
    assert tokens(hooked) == unhooked
    assert bool(preempted) == (share > 0)
    engine._preempt = preempt
    assert engine._shield.failures == planner.failures == 0
    assert len(planner.table) == 0
    hooked.reset_prefix_cache()


def test_prompts_tell_the_outputs_apart(unhooked: list[list[int]]) -> None:
    assert len({tuple(said[-8:]) for said in unhooked}) == len(PROMPTS)
    assert [len(said) for said in unhooked] == LENGTHS
