"""What vLLM's prefix cache holds of a request that waits."""

from vllm.v1.core.kv_cache_manager import KVCacheManager
from vllm.v1.request import Request


def cached_tokens(manager: KVCacheManager, request: Request) -> int:
    """Tokens that the request need not compute if it is admitted now.

    Asks as vLLM does at admission, but leaves no trace in its statistics. At least one token
    is left to compute, which gives the next.
    """
    if not manager.prefix_cache_lookup_enabled(request):
        return 0
    hit = manager.coordinator.find_longest_cache_hit(request.block_hashes, request.num_tokens - 1)
    return int(hit[1])
