import os
import warnings
from pathlib import Path

import pytest

from tests.vllm.tiny_model import write_tiny_model

# The hub is never asked, the terminal stays readable, and no other plug-in takes part.
os.environ |= {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1"}
os.environ.setdefault("OMP_NUM_THREADS", "1")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # vLLM's and torch's own, at import
    import vllm.engine.arg_utils
    import vllm.v1.core.sched.async_scheduler  # noqa: F401


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))
