"""The mix that attainment is measured on: conversations and code, merged by time.

Of each the first 400 requests; a random 30% of all are batch jobs with 30 s from end to end, of
the rest conversations have a second to their first token and code 3 s from end to end. 32 slots,
2,048 tokens a step, the steps of `mix-profile.yaml`. Load 2 brings the same requests in half the
time; another seed assigns the batch jobs anew.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from common import FOLDER
from synthetic import CODE, CONVERSATION, draw

from slosched.config.load import load
from slosched.config.schema import Settings
from slosched.core.request import TracedRequest
from slosched.traces import TraceRecord, read
from slosched.whatif.requests import requests

Traces = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Of azure_2023_conv.csv and azure_2023_code.csv (Azure Public Dataset); "
        "without it, a synthetic mix is drawn.",
    ),
]
LIMIT = 400


@dataclass(frozen=True)
class Mix:
    """Where the requests come from, and how many of each kind.

    Parameters
    ----------
    traces
        Folder of Azure's files, or None for synthetic requests.
    """

    traces: Path | None = None
    limit: int = LIMIT

    def __str__(self) -> str:
        return "synthetic mix" if self.traces is None else "Azure 2023 mix"

    def records(self) -> list[list[TraceRecord]]:
        """Read or draw the requests of each kind."""
        if self.traces is None:
            return [draw(kind, self.limit) for kind in (CONVERSATION, CODE)]
        files = [self.traces / f"{kind.source}.csv" for kind in (CONVERSATION, CODE)]
        return [read(file, self.limit) for file in files]

    def requests(self, settings: Settings, load: float, seed: int) -> list[TracedRequest]:
        """Assign classes and arrival times."""
        return requests(self.records(), settings, load, seed)


def settings(overrides: list[str] | None = None) -> Settings:
    """Configure the mix, with some values changed as `--set` would."""
    profile = f"engine.profile={FOLDER / 'mix-profile.yaml'}"
    return load(FOLDER / "mix.yaml", [profile, *(overrides or [])])
