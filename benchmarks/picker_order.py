"""The plan's order through Envoy: who was bound when, and who came to which replica when."""

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from common import FOLDER, Json, Measure, Quick, Seed, at_most, finish, note, run

sys.path.insert(0, str(FOLDER.parent))
from tests.picker.deadlines import EarliestDeadline
from tests.picker.order import CLASSES, Order, order
from tests.picker.replicas import SLOTS

REPLICAS, CLIENTS = 4, 400
_QUICK = 120


def main(
    requests: Annotated[int, typer.Option(min=1, help="In each of the four runs.")] = 5000,
    seed: Seed = 0,
    quick: Quick = False,
    json: Json = None,
) -> None:
    """Ask through Envoy before four simulated engines of four slots, one class for each deadline.

    In both modes, answers unseen (as shipped) and shown to the picker. Once under plans by
    deadline, where all ask before any slot is free; once under plans as shipped, by 400 clients.
    The picker's core runs in this process, and so what it bound, what Envoy was told, and what
    arrived are seen on one clock. Requests overtake in flight if one is told later and comes
    sooner; Envoy writes what it was told at one moment in an order of its own.
    """
    requests = _QUICK if quick else requests
    measures, details = [], {}
    for mode, shows in (("unseen", False), ("shown", True)):
        for plans, solver, clients in (
            ("by deadline", EarliestDeadline(), None),
            ("as shipped", None, min(CLIENTS, requests)),
        ):
            with TemporaryDirectory() as folder:
                found = asyncio.run(
                    order(
                        Path(folder), requests, shows_answers=shows, at_once=clients,
                        solver=solver, number=REPLICAS, seed=seed,
                    )
                )  # fmt: skip
            name = f"answers {mode}, plans {plans}"
            note(f"{name}: {sum(map(len, found.arrived))} arrived")
            measures += _measures(name, found, by_deadline=solver is not None)
            details[name] = {"bound": found.bound, "arrived": found.arrived}
    finish(measures, quick, json, {"classes": CLASSES, "runs": details})


def _measures(name: str, found: Order, *, by_deadline: bool) -> list[Measure]:
    pairs = zip(found.bound, found.sent, strict=True)
    elsewhere = sum(a != b for bound, sent in pairs for a, b in zip(bound, sent, strict=True))
    lost = sum(map(len, found.bound)) - sum(map(len, found.arrived))
    measures = [
        at_most(f"{name}: not sent in the order of the plan", elsewhere, 0, "{:d}"),
        at_most(f"{name}: bound and not arrived", lost, 0, "{:d}"),
        Measure(f"{name}: arrived at another place", f"{found.displaced}"),
        at_most(f"{name}: by places at most", found.furthest, SLOTS - 1, "{:d}"),
    ]
    if by_deadline:
        every, beyond = found.inversions
        measures.append(Measure(f"{name}: inversions in flight", f"{every - beyond}"))
        measures.append(at_most(f"{name}: inversions beyond those", beyond, 0, "{:d}"))
    return measures


if __name__ == "__main__":
    run(main)
