"""What was found about capacity, as plain data."""

from collections.abc import Mapping, Sequence
from typing import Any

from slosched.config.schema import Settings, dump
from slosched.version import __version__
from slosched.whatif.capacity import Search
from slosched.whatif.choices import Find
from slosched.whatif.fleet import Probe
from slosched.whatif.question import Question

Shares = Mapping[str, tuple[int, float]]  # of all and of each class: requests, who meets its SLO


def answer(
    question: Question, idle: Shares, searches: Sequence[tuple[Settings, Search]]
) -> dict[str, Any]:
    """Describe a question, what an idle engine could do, and the search under each policy."""
    return {
        "find": question.find.value,
        "targets": {target.name: target.share for target in question.targets},
        "routing": question.routing.value,
        "from": _value(question, 1),
        "to": _value(question, question.scale.most),
        "requests": sum(map(len, question.records)),
        "idle": {
            name: {"requests": count, "slo_attainment": share}
            for name, (count, share) in idle.items()
        },
        "unreachable": question.unreachable(idle),
        "searches": [_search(question, *found) for found in searches],
        "seed": question.seed,
        "version": __version__,
    }


def _search(question: Question, settings: Settings, search: Search) -> dict[str, Any]:
    """Describe a search: its answer with its margin, whether it holds around it, its probes."""
    found = None if search.answer is None else search.probes[search.answer]
    return {
        "policy": settings.policy.kind,
        "answer": None if search.answer is None else _value(question, search.answer),
        "margin": None if found is None else found.margins(question.targets),
        "at_bound": search.at_bound,
        "uneven": [[getattr(probe, question.find) for probe in pair] for pair in search.uneven],
        "interrupted": not search.finished,
        "probes": [_probe(search.probes[number]) for number in sorted(search.probes)],
        "config": dump(settings),
    }


def _value(question: Question, number: int) -> float:
    replicas, load = question.scale.at(number)
    return replicas if question.find == Find.replicas else load


def _probe(probe: Probe) -> dict[str, Any]:
    return {
        "replicas": probe.replicas,
        "load": probe.load,
        "attainment": probe.attainment,
        "meets": probe.meets,
        "missed": list(probe.missed),
        **probe.summary,
    }
