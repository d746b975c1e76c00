"""What a vLLM server says of itself on `/metrics`, as far as it tells how busy it is."""

from prometheus_client.parser import text_string_to_metric_families

from slosched.dispatch import Reading

# A page has a thousand lines, of which these few are parsed.
_WANTED = (
    b"vllm:num_requests_running{",
    b"vllm:num_requests_waiting{",
    b"vllm:kv_cache_usage_perc{",
    b"vllm:cache_config_info{",
)


def reading(page: bytes) -> Reading | None:
    """Read a page; None if it is not vLLM's, or cut off.

    A server of several engines (data parallel) is taken as one: requests and KV caches add up.
    """
    lines = [line for line in page.splitlines(keepends=True) if line.startswith(_WANTED)]
    found: dict[str, list[float]] = {}
    blocks = 0
    try:
        for family in text_string_to_metric_families(b"".join(lines).decode()):
            for sample in family.samples:
                found.setdefault(sample.name, []).append(sample.value)
                if sample.name == "vllm:cache_config_info":
                    blocks += _kv_tokens(sample.labels)
    except ValueError:
        return None
    running, waiting, used = (found.get(line[:-1].decode()) for line in _WANTED[:3])
    if running is None or waiting is None:
        return None
    share = sum(used) / len(used) if used else 0.0
    return Reading(round(sum(running)), round(sum(waiting)), share, blocks or None)


def _kv_tokens(labels: dict[str, str]) -> int:
    """Tokens that a KV cache holds; 0 where the engine does not know yet."""
    blocks, size = labels.get("num_gpu_blocks", ""), labels.get("block_size", "")
    return int(blocks) * int(size) if blocks.isdigit() and size.isdigit() else 0
