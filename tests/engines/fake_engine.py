"""A fake of vLLM's engine: it schedules as vLLM does, and its steps take what a model says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field

from slosched.core.detailed_latency import StepLatency


@dataclass(eq=False)
class Sequence:
    """A request in the engine."""

    prompt: int
    output: int
    computed: int = 0
    produced: int = 0
    tokens: "asyncio.Queue[int]" = field(default_factory=asyncio.Queue)


@dataclass
class FakeEngine:
    """Continuous batching with chunked prefill, first come first served.

    `overhead` is what a request costs before it is in the engine, s.
    """

    latency: StepLatency
    max_num_seqs: int = 8
    max_num_batched_tokens: int = 256
    max_model_len: int = 2048
    block_size: int = 32
    num_kv_blocks: int = 728
    overhead: float = 0.0
    steps: int = 0
    waiting: list[Sequence] = field(default_factory=list)
    running: list[Sequence] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._arrived = asyncio.Event()

    async def serve(self) -> None:
        """Step for as long as there is anything to do, forever."""
        while True:
            if not (self.waiting or self.running):
                self._arrived.clear()
                await self._arrived.wait()
            await self._step()

    async def generate(self, prompt: int, output: int) -> AsyncIterator[int]:
        """Yield how many tokens there are, one more each time."""
        await asyncio.sleep(self.overhead)
        sequence = Sequence(prompt, output)
        self.waiting.append(sequence)
        self._arrived.set()
        try:
            for _ in range(output):
                yield await sequence.tokens.get()
        finally:
            for queue in (self.waiting, self.running):
                with suppress(ValueError):
                    queue.remove(sequence)

    async def _step(self) -> None:
        budget = self.max_num_batched_tokens
        chunks: list[tuple[Sequence, int]] = []
        for sequence in self.running:
            budget -= self._schedule(sequence, budget, chunks)
        while self.waiting and budget and len(self.running) < self.max_num_seqs:
            self.running.append(self.waiting.pop(0))
            budget -= self._schedule(self.running[-1], budget, chunks)
        decoding = [s for s, _ in chunks if s.produced]
        prefill = sum(n for s, n in chunks if not s.produced)
        context = sum(s.prompt + s.produced - 1 for s in decoding)
        self.steps += 1
        await asyncio.sleep(self.latency.step(prefill, len(decoding), context))
        for sequence, n in chunks:
            sequence.computed += n
            if sequence.computed >= sequence.prompt + sequence.produced:
                sequence.produced += 1
                sequence.tokens.put_nowait(sequence.produced)
            if sequence.produced == sequence.output and sequence in self.running:
                self.running.remove(sequence)

    def _schedule(self, sequence: Sequence, budget: int, chunks: list[tuple[Sequence, int]]) -> int:
        missing = 1 if sequence.produced else sequence.prompt - sequence.computed
        n = min(missing, budget)
        if n:
            chunks.append((sequence, n))
        return n

    def metrics(self) -> str:
        """Write what vLLM's `/metrics` has, as far as anybody here reads it."""
        labels = f'block_size="{self.block_size}",engine="0",num_gpu_blocks="{self.num_kv_blocks}"'
        return (
            "# HELP vllm:num_requests_running Number of requests\n"
            f'vllm:num_requests_running{{engine="0",model_name="fake"}} {len(self.running)}.0\n'
            f'vllm:num_requests_waiting{{engine="0",model_name="fake"}} {len(self.waiting)}.0\n'
            f"vllm:cache_config_info{{{labels}}} 1.0\n"
        )

    def models(self, name: str = "fake", owner: str = "vllm") -> dict[str, object]:
        """Answer `/v1/models`."""
        model = {"id": name, "owned_by": owner, "max_model_len": self.max_model_len}
        return {"object": "list", "data": [model]}
