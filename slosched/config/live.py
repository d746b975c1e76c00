"""The configuration of a front end that serves: read again whenever its file is edited."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import structlog
from pydantic import TypeAdapter

from slosched.config import load
from slosched.config.fleet import ReplicaSettings
from slosched.config.keys import read_keys
from slosched.config.schema import Settings, dump
from slosched.config.validate import validate
from slosched.config.yaml import load_yaml
from slosched.core.errors import ConfigError
from slosched_server.rates import Meters
from slosched_server.rules import FleetRules, Lengths, Member, Rules
from slosched_solvers.replay_past import replay_past

log = structlog.get_logger()

_REPLICA = TypeAdapter(ReplicaSettings)


class LiveConfig:
    """Rules out of a YAML file; see `slosched_server.rules.RulesSource`.

    Parameters
    ----------
    path, overrides
        As `slosched.config.load.load` takes them.
    queue
        Whether requests wait here for a plan.
    discovers
        Whether replicas come from elsewhere, so that the configuration need not name any.
    host
        The address that is listened on; None for that of the configuration.

    Attributes
    ----------
    queue
        As given.
    """

    def __init__(
        self,
        path: Path | None,
        overrides: Sequence[str],
        *,
        queue: bool,
        discovers: bool = False,
        host: str | None = None,
    ) -> None:
        self._path, self._overrides = path, list(overrides)
        self.queue, self._discovers = queue, discovers
        self._host, self._meters = host, Meters()
        self._keys: Path | None = None
        self._read: Settings | None = None  # the newest that fits

    @property
    def files(self) -> Sequence[Path]:
        """The YAML file, unless the defaults hold, and that of the keys, if there are any."""
        return [path for path in (load.where(self._path), self._keys) if path is not None]

    def settings(self, edits: Sequence[str] = ()) -> Settings:
        """Read the configuration; ConfigError if it does not fit."""
        return load.load(self._path, [*self._overrides, *edits])

    def read(self, edits: Sequence[str] = ()) -> Rules:
        """Return what the front end goes by now; ConfigError if it does not fit."""
        settings = self.settings(edits)
        if not self.queue:
            _warn_of_overload(settings)
        access, tagger = settings.access, settings.tagger()
        access.check_exposure(settings.server.host if self._host is None else self._host)
        path = access.file(load.where(self._path))
        keys = read_keys(path, settings.classes) if path else None
        if self.queue and not (settings.fleet.replicas or self._discovers):
            raise ConfigError("fleet.replicas: name at least one replica")
        fleet = _fleet(settings, keys.weights() if keys else {}) if self.queue else None
        allowed = access.build(keys, tagger, self._meters)
        self._keys, self._read = path, settings
        return Rules(tagger, allowed, fleet, dump(settings))

    def member(self, fields: Mapping[str, object]) -> Member:
        """Make a replica of the fields of `fleet.replicas`; ConfigError if they do not fit.

        What they do not say is as the configuration has it that was read last.
        """
        replica = validate(load_yaml(json.dumps(fields), "replica"), _REPLICA)
        settings = self._read or self.settings()
        return Member(replica.build(settings.engine, settings.fleet.ahead), replica.url)


def _warn_of_overload(settings: Settings) -> None:
    """Say what has no effect where requests are passed on as they come."""
    guarded = [name for name, of in settings.classes.items() if of.overload != "accept"]
    if guarded:
        log.warning(
            "overload has no effect before one engine: a section fleet, of one replica too, has "
            "the queue that it takes",
            classes=guarded,
        )


def _fleet(settings: Settings, weights: Mapping[str, float]) -> FleetRules:
    fleet, planning = settings.fleet, settings.planning
    return FleetRules(
        [Member(one.build(settings.engine, fleet.ahead), one.url) for one in fleet.replicas],
        fleet.assignment,
        Lengths((settings.predictor, planning), settings.lengths),
        settings.overload(),
        replace(fleet.fairness, weights={**weights, **fleet.fairness.weights}),
        fleet.probe_every_s,
        fleet.plan_every_ms / 1e3,
        replay_past,
    )
