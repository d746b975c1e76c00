"""Pods as replicas: which of them take part, where, and how each differs from the others."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from slosched_server.kubernetes.kinds import Object

PREFIX = "slosched.dev/"
SETTINGS = ("profile", "max-num-seqs", "max-num-batched-tokens", "block-size", "num-kv-blocks")


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine of a Pod.

    Parameters
    ----------
    name
        The Pod's, with the port where it has several engines.
    url
        Where it is.
    settings
        What its Pod's annotations say, as the configuration calls it.
    """

    name: str
    url: str
    settings: Mapping[str, object] = field(default_factory=dict)

    def called(self, taken: Mapping[str, str]) -> str:
        """Return the name of its replica; `taken` are replicas that are there, and their URLs.

        A Pod of a StatefulSet comes back under its old name at another address. It does not wait
        until what was sent to the old one is over: for the time being it has a name of its own.
        """
        fresh = f"{self.name}@{urlsplit(self.url).hostname}"
        if taken.get(fresh) == self.url:
            return fresh
        return self.name if taken.get(self.name, self.url) == self.url else fresh


def is_serving(pod: Object) -> bool:
    """Whether a Pod is to get requests: it is ready, and nobody has asked it to go."""
    status = pod.get("status") or {}
    ready = any(
        condition.get("type") == "Ready" and condition.get("status") == "True"
        for condition in status.get("conditions") or ()
    )
    over = status.get("phase") in ("Failed", "Succeeded")
    asked_to_go = pod["metadata"].get("deletionTimestamp") is not None
    return ready and bool(status.get("podIP")) and not over and not asked_to_go


def engines(pod: Object, ports: Sequence[int]) -> Iterator[Engine]:
    """Yield the engines of a Pod that serves."""
    name, ip = pod["metadata"]["name"], pod["status"]["podIP"]
    host = f"[{ip}]" if ":" in ip else ip
    settings = _settings(pod)
    for port in ports:
        called = name if len(ports) == 1 else f"{name}:{port}"
        yield Engine(called, f"http://{host}:{port}", settings)


def unknown_annotations(pod: Object) -> list[str]:
    """Return annotations that can only be meant for us, and mean nothing."""
    ours = [name for name in _annotations(pod) if name.startswith(PREFIX)]
    return sorted(name for name in ours if name.removeprefix(PREFIX) not in SETTINGS)


def _settings(pod: Object) -> dict[str, object]:
    said = _annotations(pod)
    given = {name: said[PREFIX + name] for name in SETTINGS if PREFIX + name in said}
    return {
        name.replace("-", "_"): int(text) if text.isdecimal() else text
        for name, text in given.items()
    }


def _annotations(pod: Object) -> Mapping[str, str]:
    return pod["metadata"].get("annotations") or {}
