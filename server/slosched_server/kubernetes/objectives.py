"""InferenceObjectives as SLO classes: what they say lies over the YAML file, and under edits."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from slosched_server.kubernetes.complaints import Complaints
from slosched_server.kubernetes.kinds import Object
from slosched_server.layers import Part
from slosched_server.rules import Rules

PREFIX = "slosched.dev/"
_LIMITS = ("ttft_ms", "tpot_ms", "e2e_ms")


class Objectives:
    """The class objects of a pool; see `slosched_server.layers.Layer`.

    An object's name is that of a class. Annotations such as `slosched.dev/ttft-ms` are fields of
    the class; with one limit or more, these are all that it has. Without, its limits are those of
    the file's class of that name, else those of the default class. `spec.priority` below 0 is
    llm-d's "sheddable": requests are refused before they are late, unless the class says otherwise.

    Parameters
    ----------
    pool
        Objects of other pools are not ours.
    """

    def __init__(self, pool: str) -> None:
        self._pool = pool
        self._of: Mapping[str, Object] = {}
        self._complaints = Complaints("objective has no effect", "objective")

    def replace(self, items: Iterable[Object]) -> bool:
        """Take these in place of those before; False if they say the same.

        Of two of one name the later one counts.
        """
        ours = {item["metadata"]["name"]: _said(item) for item in items if self._is_ours(item)}
        fresh = {name: ours[name] for name in sorted(ours)}
        if fresh == self._of:
            return False
        self._of = fresh
        return True

    def parts(self, rules: Rules) -> list[Part]:
        """See `Layer`."""
        classes = rules.shown["classes"]
        usual = {k: v for k, v in classes[rules.tagger.default_class].items() if k in _LIMITS}
        return [
            Part(name, (f'classes."{name}"={json.dumps(_class(said, classes.get(name), usual))}',))
            for name, said in self._of.items()
        ]

    def refused(self, reasons: Mapping[str, str]) -> None:
        """See `Layer`."""
        self._complaints.say(reasons)

    def _is_ours(self, item: Object) -> bool:
        pool = (item.get("spec") or {}).get("poolRef") or {}
        return bool(pool.get("name") == self._pool)


def _said(item: Object) -> Object:
    """Return what counts of an object, by which one that has changed is known."""
    annotations = item["metadata"].get("annotations") or {}
    fields = {
        key.removeprefix(PREFIX).replace("-", "_"): text
        for key, text in annotations.items()
        if key.startswith(PREFIX)
    }
    return {"priority": (item.get("spec") or {}).get("priority") or 0, "fields": fields}


def _class(
    said: Object, named: Mapping[str, Any] | None, usual: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the class that an object makes of the file's one of that name, or of none."""
    fields = {key: _number(text) for key, text in said["fields"].items()}
    made = dict(usual if named is None else named)
    if fields.keys() & {*_LIMITS}:
        made = {key: value for key, value in made.items() if key not in _LIMITS}
    if said["priority"] < 0 and made.get("overload", "accept") == "accept":
        made["overload"] = "reject"
    if "overload" in fields:
        made.pop("downgrade_to", None)
    return {**made, **fields}


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
