"""`slosched gateway` as it is, but that one admin key is known; a program for the tests."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import typer

from slosched.cli import serve
from slosched.config import live
from slosched_server.access import Access
from slosched_server.errors import ApiError
from slosched_server.rules import Rules
from slosched_server.upstream import RawHeaders

KEY = "open sesame"
READER_KEY = "look at me"


@dataclass(frozen=True, slots=True)
class OneKey(Access):
    """Who has the key may administer; who reads needs one only if that was asked for."""

    locked: bool = False

    def check_admin(self, headers: RawHeaders) -> None:
        if (b"authorization", f"Bearer {KEY}".encode()) not in list(headers):
            raise ApiError(403, "that is no admin key", "admin_key_needed")

    def check_metrics(self, client: str, headers: RawHeaders) -> None:
        del client
        if self.locked and (b"authorization", f"Bearer {READER_KEY}".encode()) not in list(headers):
            raise ApiError(401, "that is no key", "key_needed")


class KeyedConfig(live.LiveConfig):
    """The configuration under `OneKey`."""

    locked = False

    def read(self, edits: Sequence[str] = ()) -> Rules:
        return replace(super().read(edits), access=OneKey(locked=self.locked))


if __name__ == "__main__":
    KeyedConfig.locked = "--locked" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--locked"]
    live.LiveConfig = KeyedConfig  # type: ignore[misc]
    app = typer.Typer()
    serve.register(app)
    app()
