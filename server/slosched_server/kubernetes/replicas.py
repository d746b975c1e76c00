"""Replicas as the configuration has them, made for many Pods that are alike."""

from dataclasses import replace

from slosched.core.errors import SloschedError
from slosched.dispatch import Replica
from slosched_server.kubernetes.pods import Engine
from slosched_server.rules import Member, RulesSource

_Settings = tuple[tuple[str, object], ...]


class Replicas:
    """Makes replicas of engines; those with the same annotations are the same but for their name.

    To read the configuration for each of hundreds would hold requests up, whenever one comes.

    Parameters
    ----------
    source
        Says what engines do not say of themselves.
    """

    def __init__(self, source: RulesSource) -> None:
        self._source = source
        self._like: dict[_Settings, Replica | str] = {}

    def forget(self) -> None:
        """Ask the configuration anew."""
        self._like.clear()

    def make(self, engine: Engine, name: str) -> tuple[Member, str]:
        """Return a replica, and what is wrong with its annotations: then it goes without them."""
        like = self._of(engine)
        if not isinstance(like, str):
            return Member(like.anew(name), engine.url), ""
        plain = self._of(replace(engine, settings={}))
        if isinstance(plain, str):
            raise SloschedError(plain)
        return Member(plain.anew(name), engine.url), like

    def _of(self, engine: Engine) -> Replica | str:
        settings = tuple(sorted(engine.settings.items()))
        if settings not in self._like:
            fields = {**engine.settings, "url": engine.url, "name": engine.name}
            try:
                self._like[settings] = self._source.member(fields).replica
            except SloschedError as error:
                self._like[settings] = str(error)
        return self._like[settings]
