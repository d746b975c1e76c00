"""What it tells Prometheus, under vLLM's own names."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from slosched.core.snapshot import EngineLimits
from slosched.sim.engine import SimulatedEngine

_SECONDS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.08, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
_LABELS = ("model_name", "engine")


class EngineMetrics:
    """The metrics of one simulated engine; its times are the engine's own.

    Parameters
    ----------
    engine
        Whose queues and blocks are shown.
    model
        Name of what it serves.
    """

    def __init__(self, engine: SimulatedEngine, limits: EngineLimits, model: str) -> None:
        self.registry = CollectorRegistry()
        self._labels = (model, "0")
        self.registry.register(_State(engine, limits, self._labels))
        self._prompt_tokens = self._counter("prompt_tokens", "Prefill tokens of all requests")
        self._tokens = self._counter("generation_tokens", "Tokens of all answers")
        self._ended = Counter(
            "vllm:request_success", "Requests that ended", (*_LABELS, "finished_reason"),
            registry=self.registry,
        )  # fmt: skip
        self._first = self._histogram("time_to_first_token_seconds", "To the first token")
        self._gap = self._histogram("inter_token_latency_seconds", "Between two tokens")
        self._whole = self._histogram("e2e_request_latency_seconds", "To the last token")

    def came(self, prompt_tokens: int) -> None:
        """Count a request."""
        self._prompt_tokens.inc(prompt_tokens)

    def said(self, tokens: int, since_arrival: float, gap: float) -> None:
        """Count a token: which one of its answer it is, and the seconds it took."""
        self._tokens.inc()
        if tokens == 1:
            self._first.observe(since_arrival)
        else:
            self._gap.observe(gap)

    def ended(self, reason: str, seconds: float) -> None:
        """Count an answer that came to its end, or whose client hung up."""
        self._ended.labels(*self._labels, reason).inc()
        if reason != "abort":
            self._whole.observe(seconds)

    def _counter(self, name: str, text: str) -> Counter:
        made = Counter(f"vllm:{name}", text, _LABELS, registry=self.registry)
        return made.labels(*self._labels)

    def _histogram(self, name: str, text: str) -> Histogram:
        made = Histogram(f"vllm:{name}", text, _LABELS, registry=self.registry, buckets=_SECONDS)
        return made.labels(*self._labels)


class _State(Collector):
    """What the engine holds at the moment that it is asked."""

    def __init__(
        self, engine: SimulatedEngine, limits: EngineLimits, labels: tuple[str, str]
    ) -> None:
        self._engine, self._limits, self._labels = engine, limits, labels

    def collect(self) -> Iterator[Metric]:
        """Yield what there is now."""
        engine, limits = self._engine, self._limits
        usable = limits.num_kv_blocks - 1
        for name, text, value in (
            ("num_requests_running", "Requests that hold a slot", engine.running),
            ("num_requests_waiting", "Requests that wait for a slot", engine.waiting),
            ("kv_cache_usage_perc", "KV cache in use; 1 is all", 1 - engine.free_blocks / usable),
        ):
            gauge = GaugeMetricFamily(f"vllm:{name}", text, labels=_LABELS)
            gauge.add_metric(self._labels, value)
            yield gauge
        lost = CounterMetricFamily("vllm:num_preemptions", "Slots that were lost", labels=_LABELS)
        lost.add_metric(self._labels, engine.preemptions)
        yield lost
        cache = GaugeMetricFamily(
            "vllm:cache_config_info", "The KV cache",
            labels=("block_size", "num_gpu_blocks", "engine"),
        )  # fmt: skip
        cache.add_metric((str(limits.block_size), str(limits.num_kv_blocks), "0"), 1)
        yield cache
