"""Capacity as a table of probes, and in words."""

from collections.abc import Iterator
from typing import Any

from rich.table import Table


def probes_table(result: dict[str, Any]) -> Table:
    """Make a row of each probe: how many, how fast, attainment by class, and the verdict.

    Parameters
    ----------
    result
        As `plan-capacity --format json` has it.
    """
    table = Table(title=f"{result['requests']} requests, {result['profile']}, {result['routing']}")
    for header in ("policy", "replicas", "load", *_classes(result), "verdict"):
        left = header in ("policy", "verdict")
        table.add_column(header, justify="left" if left else "right", no_wrap=left)
    alone = (_percent(idle["slo_attainment"]) for idle in result["idle"].values())
    table.add_row("idle engine", "", "", *alone, _verdict(result["unreachable"]), end_section=True)
    for search in result["searches"]:
        for probe in search["probes"]:
            shares = (_percent(probe["attainment"][name]) for name in result["idle"])
            amount = (str(probe["replicas"]), f"{probe['load']:g}")
            table.add_row(search["policy"], *amount, *shares, _verdict(probe["missed"]))
        table.add_section()
    return table


def conclusions(result: dict[str, Any]) -> Iterator[str]:
    """Say what was found, a line each; for a result as `probes_table` takes it."""
    for name in result["unreachable"]:
        idle, share = result["idle"][name], result["targets"][name]
        yield (
            f"{name}={share:g} cannot be met, whatever the number of engines: of {idle['requests']}"
            f" requests {_percent(idle['slo_attainment'])} meet their SLO on an idle one"
        )
    for search in result["searches"]:
        yield from _conclusion(search, result)
    yield from _comparison([s for s in result["searches"] if s["answer"] is not None], result)


def _conclusion(search: dict[str, Any], result: dict[str, Any]) -> Iterator[str]:
    policy, targets = search["policy"], _targets(result)
    if search["interrupted"]:
        yield f"{policy}: interrupted before an answer was there"
    elif search["answer"] is None:
        last = _amount(result["to"] if _of_replicas(result) else result["from"], result)
        yield f"{policy}: {last} cannot meet {targets}, and no other that was tried"
    else:
        margins = ", ".join(
            f"{name} at {_percent(result['targets'][name] + margin)} ({100 * margin:+.1f} points)"
            for name, margin in search["margin"].items()
        )
        bound = ", the most that was tried" if search["at_bound"] else ""
        yield f"{policy} {_does(search, result)} for {targets}{bound}: {margins}"
    for meets, misses in search["uneven"]:
        yield (
            f"note: under {policy}, {_amount(meets, result)} meets {targets} and "
            f"{_amount(misses, result)} does not: so near to a target chance decides, leave room"
        )


def _comparison(found: list[dict[str, Any]], result: dict[str, Any]) -> Iterator[str]:
    """Hold the best policy against those that do worse."""
    if not found:
        return
    best = (min if _of_replicas(result) else max)(found, key=lambda search: search["answer"])
    others = [search for search in found if search["answer"] != best["answer"]]
    if others:
        worse = ", ".join(f"{other['policy']} {_does(other, result)}" for other in others)
        yield f"{best['policy']} {_does(best, result)} where {worse}"


def _does(search: dict[str, Any], result: dict[str, Any]) -> str:
    verb = "needs" if _of_replicas(result) else "carries"
    return f"{verb} {_amount(search['answer'], result)}"


def _amount(value: float, result: dict[str, Any]) -> str:
    if _of_replicas(result):
        return f"{value} replica{'s' if value > 1 else ''}"
    return f"load {value:g}"


def _of_replicas(result: dict[str, Any]) -> bool:
    return bool(result["find"] == "replicas")


def _targets(result: dict[str, Any]) -> str:
    return ", ".join(f"{name}={share:g}" for name, share in result["targets"].items())


def _classes(result: dict[str, Any]) -> Iterator[str]:
    """Name the columns of classes, with what is asked of them."""
    for name in result["idle"]:
        share = result["targets"].get(name)
        yield name if share is None else f"{name} >= {100 * share:g}%"


def _verdict(missed: list[str]) -> str:
    return "misses " + ", ".join(missed) if missed else "meets"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"
