"""What lies between the configuration's files and the edits over them: said by somebody else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from slosched.core.errors import SloschedError
from slosched_server.rules import Rules, RulesSource


@dataclass(frozen=True, slots=True)
class Part:
    """What one object says of the configuration.

    Parameters
    ----------
    name
        The object's.
    edits
        As `RulesSource.read` takes them.
    """

    name: str
    edits: Sequence[str]


class Layer(Protocol):
    """Objects that say something of the configuration."""

    def parts(self, rules: Rules) -> Sequence[Part]:
        """Return what each says, over what the files alone say."""
        ...

    def refused(self, reasons: Mapping[str, str]) -> None:
        """Hear which of them do not fit, and why, by name; all others do."""
        ...


def fitting(source: RulesSource, layer: Layer) -> list[str]:
    """Return the edits of a layer, without those parts that do not fit.

    One that does not fit changes nothing of the others. Where two do not fit together the later
    one does not.

    Raises
    ------
    SloschedError
        If the files alone do not fit.
    """
    parts = layer.parts(source.read())
    edits = [edit for part in parts for edit in part.edits]
    refused: dict[str, str] = {}
    if parts and _wrong(source, edits) is not None:
        edits = []
        for part in parts:
            with_it = [*edits, *part.edits]
            if (reason := _wrong(source, with_it)) is None:
                edits = with_it
            else:
                refused[part.name] = reason
    layer.refused(refused)
    return edits


def _wrong(source: RulesSource, edits: Sequence[str]) -> str | None:
    try:
        source.read(edits)
    except SloschedError as error:
        return str(error)
    return None
