"""A front end with keys: its files, a fake engine behind it, and what keeps reading the files."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import yaml

from slosched.config.keys import written
from slosched.config.live import LiveConfig
from slosched_server.admin import Admin
from slosched_server.app import create_app
from slosched_server.control import Control
from slosched_server.http_upstream import HttpUpstream
from slosched_server.keys import digest_of, new_key
from slosched_server.settings import ServerSettings
from tests.server.fake_engine import FakeEngine, answer
from tests.server.front_end import serving

CLASSES = """
classes:
  interactive: {ttft_ms: 1000}
  batch: {e2e_ms: 30000, service_tier: flex}
access: {keys: keys.yaml}
"""
ANSWER = b'{"choices":[{"index":0,"finish_reason":"stop","text":"a"}]}'


@dataclass
class Files:
    """The configuration, and the file of keys beside it."""

    folder: Path
    text: str = CLASSES
    entries: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.config.write_text(self.text)
        self.save()

    @property
    def config(self) -> Path:
        return self.folder / "slosched.yaml"

    def give(self, name: str, **fields: Any) -> str:
        """Give somebody a key, and return it."""
        key = new_key()
        hash_ = written(digest_of(key.encode()))
        self.entries.append({"name": name, "hash": hash_, **fields})
        self.save()
        return key

    def take(self, name: str) -> None:
        self.entries = [entry for entry in self.entries if entry["name"] != name]
        self.save()

    def save(self) -> None:
        fresh = self.folder / "keys.fresh"
        fresh.write_text(yaml.safe_dump({"keys": self.entries}))
        fresh.replace(self.folder / "keys.yaml")


@dataclass
class Guarded:
    """A front end that serves."""

    engine: FakeEngine
    url: str
    control: Control

    def client(self, key: str) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0)

    async def ask(self, key: str, headers: dict[str, str] | None = None, **body: Any) -> Any:
        """Ask as OpenAI's own client does; gives the answer with its headers."""
        async with self.client(key) as client:
            create: Any = client.completions.with_raw_response.create
            ask = {"model": "fake", "prompt": "p"}
            return await create(**ask, extra_headers=headers, extra_body=body)


@asynccontextmanager
async def guarded(files: Files, overrides: Sequence[str] = ()) -> AsyncIterator[Guarded]:
    """Serve before a fake engine."""
    control = Control(LiveConfig(files.config, overrides, queue=False))
    settings = ServerSettings(max_body_bytes=1 << 20)
    async with (
        asyncio.timeout(60),
        FakeEngine(answer(ANSWER)) as engine,
        HttpUpstream(engine.url, 5.0) as upstream,
    ):
        app = create_app(settings, control.in_force, upstream, admin=Admin(control, None))
        watching = asyncio.create_task(control.watch())
        async with serving(app) as url:
            yield Guarded(engine, url, control)
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
