"""The page of several runs: what is on it, and what never is."""

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from slosched.core.errors import SloschedError
from slosched.report.comparison import comparison
from slosched.report.read import read
from slosched.report.runs import Runs
from tests.report.made import CLASSES, result
from tests.report.pages import Tags, picture, pictures, texts

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\" ' &amp; $\\frac{ \u202e\u0000"


def runs_of(folder: Path, *documents: dict[str, Any]) -> Runs:
    paths = [folder / f"{i}.json" for i in range(len(documents))]
    for path, document in zip(paths, documents, strict=True):
        path.write_bytes(orjson.dumps(document))
    return read(paths)


def page_of(folder: Path, *documents: dict[str, Any], run: str | None = None) -> str:
    return comparison(runs_of(folder, *documents), run).decode()


def hostile() -> dict[str, Any]:
    document = result()
    for run in document["runs"]:
        run["policy"] += HOSTILE
        run["trace"] = ["http://evil.example/" + HOSTILE]
        run["config"]["classes"] = {HOSTILE: {"ttft_ms": 1}}
        run["per_class"] = {HOSTILE + name: of for name, of in run["per_class"].items()}
        run["slo_classes"] = [HOSTILE + name for name in run["slo_classes"]]
        run["request_ids"] = [name + HOSTILE for name in run["request_ids"]]
    return document


def variants() -> dict[str, dict[str, Any]]:
    without = result(per_request=False)
    old = result()
    for run in old["runs"]:
        for name in ("arrivals_ms", "ttft_limits_ms", "tpot_limits_ms", "e2e_limits_ms"):
            del run[name]
    live = result(("sjf",), (1.0,))["runs"][0] | {"shed": 3, "model_id": "a/model"}
    del live["load"], live["policy"], live["preemptions"], live["profile"]
    nobody = result(("fcfs",), (1.0,), per_request=False)
    nobody["runs"][0] |= {"completed": 0, "slo_attainment": None, "per_class": {}}
    return {
        "whole": result(), "one load": result(loads=(2.0,)), "one run": result(("sjf",), (1.0,)),
        "summaries": without, "without arrivals": old, "live": live, "nobody": nobody,
        "hostile": hostile(), "a request": result(n=1), "two": result(n=2),
    }  # fmt: skip


@pytest.mark.parametrize("name", variants())
def test_every_page_is_whole_and_needs_no_other_file(tmp_path: Path, name: str) -> None:
    page = page_of(tmp_path, variants()[name])
    tags = Tags(page)
    assert not tags.open
    kinds = {tag for tag, _ in tags.found}
    assert not kinds & {"script", "link", "img", "iframe", "object", "image", "base", "form"}
    for tag, attributes in tags.found:
        assert not {key for key in attributes if key.startswith("on")}
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#"), tag
    assert not re.search(r"@import|url\((?!#)", page)
    for svg in pictures(page):
        assert svg.attrib["role"] == "img"
        assert svg.attrib["aria-label"]
    ids = [attributes["id"] for _, attributes in tags.found if "id" in attributes]
    assert len(set(ids)) == len(ids)
    targets = set(re.findall(r'(?:url\(|href=")#([^")]+)', page))
    assert targets <= set(ids)


def test_names_are_text_wherever_they_are(tmp_path: Path) -> None:
    page = page_of(tmp_path, hostile())
    assert "<script" not in page
    assert "<img" not in page
    assert "\u202e" not in page
    assert "\x00" not in page
    assert "<script>alert(1)</script><img src=x onerror=alert(1)>" in Tags(page).text
    assert any("<scri" in text for svg in pictures(page) for text in texts(svg))


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    """Law 4."""
    assert page_of(tmp_path, result()) == page_of(tmp_path, result())


def test_pictures_have_no_colours_of_their_own(tmp_path: Path) -> None:
    """Light or dark is the reader's choice: all paint is a variable of the page, or none."""
    page = page_of(tmp_path, result())
    for svg in pictures(page):
        for element in svg.iter():
            assert not {"fill", "stroke", "color"} & set(element.attrib)
            style = element.attrib.get("style", "")
            for paint in re.findall(r"(?:fill|stroke): ([^;]+)", style):
                assert re.fullmatch(r"none|var\(--[a-z]+\d?\)", paint), style
        for text in svg.iter("text"):
            assert "fill: var(--" in text.attrib["style"]
    used = set(re.findall(r"var\(--([a-z]+\d?)\)", page)) - {"width"}
    for scheme in re.findall(r":root \{([^}]*)\}", page):
        assert {f"--{name}" for name in used} <= set(re.findall(r"--[a-z]+\d?(?=:)", scheme))


def test_attainment_stands_beside_the_lines_with_the_best_on_top(tmp_path: Path) -> None:
    document = result()
    page = page_of(tmp_path, document)
    svg = picture(page, "All requests: share that meets its SLO against load")
    labels = [text for text in texts(svg) if text.startswith(("fcfs", "sjf"))]
    at_two = {run["policy"]: run["slo_attainment"] for run in document["runs"][2:]}
    best, worst = sorted(at_two, key=at_two.__getitem__, reverse=True)
    assert labels == [f"{name} {100 * at_two[name]:.0f}%" for name in (best, worst)]
    for name in CLASSES:
        picture(page, f"{name}: share that meets its SLO against load")


def test_one_load_has_bars(tmp_path: Path) -> None:
    document = result(loads=(2.0,))
    svg = picture(page_of(tmp_path, document), "All requests, load 2: share that meets")
    for run in document["runs"]:
        assert run["policy"] in texts(svg)
        assert f"{100 * run['slo_attainment']:.1f}%" in texts(svg)


def test_latencies_are_those_that_the_class_limits_with_the_limit_marked(tmp_path: Path) -> None:
    page = page_of(tmp_path, result(loads=(2.0,)))
    drawn = [p.attrib["aria-label"] for p in pictures(page) if "share of requests" in str(p.attrib)]
    assert [label.split(":")[:2] for label in drawn] == [
        ["chat", " time to first token (TTFT)"],
        ["chat", " time per output token (TPOT)"],
        ["code", " end-to-end time"],
    ]
    assert "limit 1 s" in texts(picture(page, "chat: time to first"))
    assert "limit 50 ms" in texts(picture(page, "chat: time per"))
    assert "limit 4 s" in texts(picture(page, "code: end-to-end"))


def test_the_run_and_the_window_can_be_chosen(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, result())
    page = comparison(runs, "fcfs@1", 2.0, 5.0).decode()
    picture(page, "Schedule of fcfs@1, from 2 to 7 s")
    assert "fcfs@1 is what the others are held against" in Tags(page).text
    with pytest.raises(SloschedError, match=r"--run fcfs@3: no such run, did you mean fcfs@"):
        comparison(runs, "fcfs@3")
    with pytest.raises(SloschedError, match=r"--from must be from 0 to \d"):
        comparison(runs, begin=1e6)


def test_results_without_arrays_say_how_to_get_them(tmp_path: Path) -> None:
    page = page_of(tmp_path, result(per_request=False))
    assert "4 of 4 runs do not say what happened to each request" in Tags(page).text
    assert "slosched simulate TRACE --requests -o RESULT.json" in page
    assert all("share that meets its SLO" in p.attrib["aria-label"] for p in pictures(page))
    old = page_of(tmp_path, variants()["without arrivals"])
    assert "4 of 4 runs do not say when requests arrived" in Tags(old).text
    # Limits come from the configuration, then.
    assert "limit 1 s" in texts(next(p for p in pictures(old) if "TTFT" in str(p.attrib)))


def test_runs_of_several_files_are_joined(tmp_path: Path) -> None:
    live = variants()["live"]
    page = page_of(tmp_path, result(loads=(2.0,)), live)
    assert {"fcfs", "sjf"} <= set(texts(picture(page, "All requests, load 2: share")))
    assert "1" in texts(picture(page, "All requests: share"))  # named after its file
    assert "0.json, 1.json" in Tags(page).text


def test_losers_are_listed_by_class(tmp_path: Path) -> None:
    document = result(loads=(2.0,))
    fcfs, sjf = document["runs"]
    page = Tags(page_of(tmp_path, document, run="sjf@2"))
    met = zip(fcfs["slo_met"], sjf["slo_met"], fcfs["request_ids"], strict=True)
    lost = [name for before, now, name in met if before and not now]
    assert lost
    assert "Met their SLO under fcfs@2 and miss it under sjf@2" in page.text
    for name in lost[:1]:
        assert f" {name} " in page.text
