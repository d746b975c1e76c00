"""The configuration of a front end that serves: read again whenever its file is edited."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import TypeAdapter

from slosched.config import load
from slosched.config.fleet import ReplicaSettings
from slosched.config.schema import Settings, dump
from slosched.config.validate import validate
from slosched.config.yaml import load_yaml
from slosched.core.errors import ConfigError
from slosched_server.rules import FleetRules, Lengths, Member, Rules


class LiveConfig:
    """Rules out of a YAML file; see `slosched_server.rules.RulesSource`.

    Parameters
    ----------
    path, overrides
        As `slosched.config.load.load` takes them.
    queue
        Whether requests wait here for a plan.

    Attributes
    ----------
    queue
        As given.
    """

    def __init__(self, path: Path | None, overrides: Sequence[str], *, queue: bool) -> None:
        self._path, self._overrides = path, list(overrides)
        self.queue = queue

    @property
    def files(self) -> Sequence[Path]:
        """The YAML file; none if the defaults hold."""
        return [path] if (path := load.where(self._path)) else []

    def settings(self, edits: Sequence[str] = ()) -> Settings:
        """Read the configuration; ConfigError if it does not fit."""
        return load.load(self._path, [*self._overrides, *edits])

    def read(self, edits: Sequence[str] = ()) -> Rules:
        """Return what the front end goes by now; ConfigError if it does not fit."""
        settings = self.settings(edits)
        fleet = _fleet(settings) if self.queue else None
        return Rules(settings.tagger(), fleet=fleet, shown=dump(settings))

    def member(self, fields: Mapping[str, object]) -> Member:
        """Make a replica of the fields of `fleet.replicas`; ConfigError if they do not fit."""
        replica = validate(load_yaml(json.dumps(fields), "replica"), TypeAdapter(ReplicaSettings))
        settings = self.settings()
        return Member(replica.build(settings.engine, settings.fleet.ahead), replica.url)


def _fleet(settings: Settings) -> FleetRules:
    fleet, planning = settings.fleet, settings.planning
    if not fleet.replicas:
        raise ConfigError("fleet.replicas: name at least one replica")
    return FleetRules(
        [Member(one.build(settings.engine, fleet.ahead), one.url) for one in fleet.replicas],
        fleet.assignment,
        Lengths((settings.predictor, planning), settings.lengths),
        settings.overload(),
        fleet.fairness,
        fleet.probe_every_s,
        fleet.plan_every_ms / 1e3,
    )
