"""`slosched serve` as it is, but for a fake engine in vLLM's place; a program for the tests."""

import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from slosched.cli import serve

FAKE_ENGINE = str(Path(__file__).with_name("fake_engine.py"))


def engine_arguments(model: str, port: int, vllm_args: Sequence[str]) -> list[str]:
    return [sys.executable, FAKE_ENGINE, "--model", model, "--port", str(port), *vllm_args]


if __name__ == "__main__":
    serve.engine_arguments = engine_arguments
    app = typer.Typer()
    serve.register(app)
    app()
