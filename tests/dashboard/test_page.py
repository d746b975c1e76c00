"""The live page in a real browser, before real processes: what it shows, and how it is used."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, expect, sync_playwright

from tests.dashboard.site import Site, site

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: see scripts/install")
expect.set_options(timeout=60_000)


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("site")) as served:
        yield served


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Chromium's own sandbox cannot be had as root, nor in most containers.
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


class Visit:
    """A page that is open, and what it did."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def open(self, served: Site) -> Page:
        self.page.goto(f"{served.url}/dashboard")
        expect(self.page.locator("#status")).to_have_text("Live")
        return self.page


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield Visit(context.new_page())
    context.close()


def config(served: Site) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {served.admin_key}"}
    with urlopen(Request(f"{served.url}/slosched/config", headers=headers)) as got:  # noqa: S310
        answer: dict[str, Any] = json.load(got)
    return answer


def picture(served: Site, *, waiting: int = 2) -> dict[str, Any]:
    """Return one in which so many wait."""
    with urlopen(f"{served.url}/dashboard/events") as stream:  # noqa: S310
        for line in stream:
            if line.startswith(b"data: "):
                seen: dict[str, Any] = json.loads(line[len(b"data: ") :])
                if len(seen["queue"]["waiting"]) >= waiting and seen["reasons"]:
                    return seen
    raise AssertionError("the stream ended")


def show(page: Page, served: Site, *pictures: dict[str, Any]) -> None:
    """Show these pictures alone: the stream ends with them, and there is no other."""
    body = "".join(f"data: {json.dumps(one)}\n\n" for one in pictures)

    def once(route: Route) -> None:
        route.fulfill(content_type="text/event-stream", body=body)
        page.unroute("**/dashboard/events")
        page.route("**/dashboard/events", lambda later: later.abort())

    page.route("**/dashboard/events", once)
    page.goto(f"{served.url}/dashboard")
    expect(page.locator("#lead")).to_be_visible()


def test_everything_comes_from_this_server_and_nothing_goes_wrong(busy: Site, visit: Visit) -> None:
    page = visit.open(busy)
    cards = page.locator("#classes .card")
    expect(cards).to_have_count(3)
    assert cards.locator("h3").all_inner_texts() == ["interactive", "agent", "batch"]
    expect(cards.nth(0).locator("strong")).to_have_text(re.compile(r"^[\d.]+%$"))
    expect(page.locator("#queue tbody tr").first).to_be_visible()
    expect(page.locator("#replicas .card")).to_have_count(2)
    expect(page.locator("#replicas .why").first).to_contain_text("Next is #")
    expect(page.locator("#hindsight-lead")).to_contain_text(
        "first come, first served", ignore_case=True
    )
    expect(page.locator("#hindsight .compare")).to_have_count(3)
    expect(page.locator("#shown")).to_contain_text("ttft_ms: 1000")
    assert busy.admin_key not in page.content()
    assert not visit.errors
    assert visit.hosts == {urlsplit(busy.url).netloc}


def test_the_table_has_the_order_of_the_plan(busy: Site, visit: Visit) -> None:
    seen = picture(busy)
    show(visit.page, busy, seen)
    rows = visit.page.locator("#queue tbody tr")
    expect(rows).to_have_count(len(seen["queue"]["waiting"]))
    shown = [row.get_attribute("data-request") for row in rows.all()]
    assert shown == [one["request_id"] for one in seen["queue"]["waiting"]]
    places = [one["place"] for one in seen["queue"]["waiting"] if one["replica"]]
    assert places == sorted(places)


def test_of_a_long_queue_the_first_are_shown_and_the_rest_counted(busy: Site, visit: Visit) -> None:
    seen = picture(busy)
    seen["queue"]["more"] = 4321
    show(visit.page, busy, seen)
    expect(visit.page.locator("#queue-note")).to_contain_text("4,321 more")


def test_deadlines_count_down_between_pictures_and_pass(busy: Site, visit: Visit) -> None:
    seen = picture(busy)
    first, second = seen["queue"]["waiting"][:2]
    first["deadline"], second["deadline"] = seen["now"] + 1.5, None
    show(visit.page, busy, seen)
    cells = visit.page.locator("#queue tbody td:nth-child(3)")
    expect(cells.nth(1)).to_have_text("no limit")
    expect(cells.nth(0)).to_have_text(re.compile(r"▲ [\d.]+ s ago"))


def test_a_connection_that_is_lost_is_told_and_tried_again(busy: Site, visit: Visit) -> None:
    page = visit.page
    show(page, busy, picture(busy))
    expect(page.locator("#status")).to_have_text(re.compile("Not connected, again in"))
    page.unroute("**/dashboard/events")
    expect(page.locator("#status")).to_have_text("Live")


def test_names_are_text(busy: Site, visit: Visit) -> None:
    """Tenants are named by clients."""
    seen = picture(busy)
    bad = "<img src=x onerror=alert(1)>"
    seen["queue"]["waiting"][0] |= {"tenant": bad, "slo_class": bad}
    seen["classes"][0]["name"] = seen["replicas"][0]["name"] = bad
    show(visit.page, busy, seen)
    expect(visit.page.locator("#queue tbody td:nth-child(9)").first).to_have_text(bad)
    expect(visit.page.locator("h3").first).to_have_text(bad)
    assert visit.page.locator("main img").count() == 0


def tab_to(page: Page, identifier: str) -> list[str]:
    """Press Tab until something has the focus; return all that had it on the way."""
    passed = []
    for _ in range(40):
        page.keyboard.press("Tab")
        name = page.evaluate("document.activeElement.id || document.activeElement.textContent")
        passed.append(name)
        if name == identifier:
            return passed
    raise AssertionError(passed)


def test_everything_can_be_reached_and_used_by_keyboard(busy: Site, visit: Visit) -> None:
    page = visit.open(busy)
    expect(page.locator("#set-cooling")).to_be_visible()
    expect(page.locator("#queue tbody tr").first).to_be_visible()
    passed = tab_to(page, "settings-back")
    names = list(config(busy)["config"]["fleet"]["assignment"]["solver"])
    fields = [f"set-{name}" for name in names if name != "kind"]
    back = passed.index("theme")
    assert passed[:back] == ["Skip to the content"]
    assert passed[back + 1 :] == [
        "queue-scroll", *fields, "admin-key", "Put in force", "settings-back",
    ]  # fmt: skip
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#settings-result")).to_have_text("Nothing is changed.")
    page.reload()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_focus_is_seen(busy: Site, visit: Visit) -> None:
    page = visit.open(busy)
    tab_to(page, "theme")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert float(outline.removesuffix("px")) >= 2


def test_an_edit_that_does_not_fit_is_told_at_its_field_and_changes_nothing(
    busy: Site, visit: Visit
) -> None:
    page, before = visit.open(busy), config(busy)
    page.fill("#set-cooling", "3")
    page.fill("#admin-key", busy.admin_key)
    page.press("#admin-key", "Enter")
    expect(page.locator("#set-cooling-error")).to_contain_text("must be above 0 and below 1")
    expect(page.locator("#set-cooling")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#set-cooling")).to_be_focused()
    assert config(busy) == before


def test_two_fields_that_do_not_fit_are_told_at_each(busy: Site, visit: Visit) -> None:
    page = visit.open(busy)
    page.fill("#set-cooling", "cold")
    page.fill("#set-horizon", "1.5")
    page.fill("#admin-key", busy.admin_key)
    page.press("#admin-key", "Enter")
    expect(page.locator("#set-cooling-error")).to_contain_text("must be a number")
    expect(page.locator("#set-horizon-error")).to_contain_text("must be an integer")


def test_without_the_key_nothing_is_changed(busy: Site, visit: Visit) -> None:
    page, before = visit.open(busy), config(busy)
    page.fill("#set-cooling", "0.5")
    page.fill("#admin-key", "guess")
    page.press("#admin-key", "Enter")
    expect(page.locator("#admin-key")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#settings-result")).to_have_class("error")
    assert config(busy) == before


def test_an_edit_is_put_in_force_shown_to_all_and_taken_back(
    busy: Site, visit: Visit, browser: Browser
) -> None:
    page, before = visit.open(busy), config(busy)
    other = Visit(browser.new_page())
    watched = other.open(busy)
    page.fill("#set-cooling", "0.5")
    page.fill("#set-move_budget", "5000")
    page.fill("#admin-key", busy.admin_key)
    page.press("#admin-key", "Enter")
    expect(page.locator("#settings-result")).to_contain_text("In force since")
    solver = config(busy)["config"]["fleet"]["assignment"]["solver"]
    assert (solver["cooling"], solver["move_budget"]) == (0.5, 5000)
    expect(watched.locator("#set-cooling")).to_have_value("0.5")
    expect(watched.locator("#shown")).to_contain_text("cooling: 0.5")
    page.click("#settings-back")
    expect(page.locator("#set-cooling")).to_have_value("0.85")
    assert config(busy) == before
    stored = page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]")
    assert stored == [0, 0, ""]
    assert busy.admin_key not in page.url
    other.page.close()


def test_edits_of_other_things_stay(busy: Site, visit: Visit) -> None:
    page = visit.open(busy)
    headers = {"authorization": f"Bearer {busy.admin_key}"}
    mine = json.dumps({"edits": ["fleet.max_waiting=999"]}).encode()
    with urlopen(Request(f"{busy.url}/slosched/config", mine, headers, method="PUT")):  # noqa: S310
        pass
    page.fill("#admin-key", busy.admin_key)
    page.fill("#set-seed", "7")
    page.press("#set-seed", "Enter")
    expect(page.locator("#settings-result")).to_contain_text("In force since")
    assert config(busy)["edits"] == ["fleet.max_waiting=999", "fleet.assignment.solver.seed=7"]
    page.click("#settings-back")
    expect(page.locator("#set-seed")).to_have_value("0")
    assert config(busy)["edits"] == ["fleet.max_waiting=999"]


def test_from_elsewhere_a_key_is_needed_to_look(busy: Site, browser: Browser) -> None:
    context = browser.new_context(extra_http_headers={"x-forwarded-for": "192.0.2.7"})
    page = context.new_page()
    page.goto(f"{busy.url}/dashboard")
    expect(page.locator("#status")).to_have_text("A key is needed")
    expect(page.locator("#unlock-key")).to_be_focused()
    page.keyboard.type("guess")
    page.keyboard.press("Enter")
    expect(page.locator("#unlock-why")).to_contain_text("key")
    expect(page.locator("#unlock")).to_be_visible()
    page.fill("#unlock-key", busy.admin_key)
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_text("Live")
    expect(page.locator("#unlock")).to_be_hidden()
    expect(page.locator("#shown")).to_contain_text("ttft_ms: 1000")
    assert page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]
    context.close()


PAPER = {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 24, 28)"}


def test_light_and_dark_as_the_system_or_as_chosen(busy: Site, visit: Visit) -> None:
    page = visit.open(busy)
    body = page.locator("body")
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        expect(body).to_have_css("background-color", PAPER[scheme])
    for chosen in ("light", "dark"):
        page.click("#theme")
        expect(page.locator("#theme")).to_have_text(f"Theme: {chosen}")
        expect(body).to_have_css("background-color", PAPER[chosen])


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_axe_finds_nothing(
    busy: Site, browser: Browser, width: int, scheme: Any
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = Visit(context.new_page()).open(busy)
    expect(page.locator("#replicas .card")).to_have_count(2)
    expect(page.locator("#set-cooling")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert (
        page.evaluate("getComputedStyle(document.querySelector('.bar i')).transitionDuration")
        == "0s"
    )
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    context.close()
