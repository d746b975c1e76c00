"""docs/openapi.yaml is what the front end serves, and says what it reads."""

import re
from pathlib import Path
from typing import Any, cast

import pytest
import schemathesis
from starlette.routing import Route

from slosched.core.errors import TagError
from slosched.core.tags import CLASS_HEADERS, TARGET_HEADERS, TENANT_HEADERS, Tagger
from slosched_server.admin import Admin
from slosched_server.app import create_app
from slosched_server.control import Control
from slosched_server.members import Members
from slosched_server.rules import Rules, RulesInForce
from slosched_server.settings import ServerSettings
from slosched_server.upstream import Upstream
from tests.server.front_end import CLASSES, TAGGER

FILE = Path(__file__).parents[2] / "docs" / "openapi.yaml"


@pytest.fixture(scope="module")
def described() -> Any:
    schema = schemathesis.openapi.from_path(FILE)
    schema.validate()
    return schema.raw_schema


def test_every_route_is_in_the_file_and_the_other_way_round(described: Any) -> None:
    admin = Admin(cast("Control", None), cast("Members", object()))
    rules = RulesInForce(Rules(TAGGER))
    app = create_app(ServerSettings(), rules, cast("Upstream", None), admin=admin)
    served = {
        (re.sub(r"{(\w+):path}", r"{\1}", route.path), method.lower())
        for route in app.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    paths = described["paths"]
    assert served == {(path, method) for path, methods in paths.items() for method in methods}


def test_the_headers_that_are_read_are_in_the_file(described: Any) -> None:
    parameters = described["components"]["parameters"].values()
    headers = {p["name"] for p in parameters if p["in"] == "header"}
    assert headers == {*CLASS_HEADERS, *TARGET_HEADERS, *TENANT_HEADERS}


def test_bounds_in_the_file_are_those_that_hold(described: Any) -> None:
    parameters = {p["name"]: p["schema"] for p in described["components"]["parameters"].values()}
    bounds = parameters["x-slo-ttft-ms"]
    tagger = Tagger(CLASSES, "interactive")
    for number in (bounds["minimum"], bounds["maximum"]):
        assert _read(tagger, "x-slo-ttft-ms", number)
    for number in (bounds["minimum"] - 1, bounds["maximum"] + 1):
        assert not _read(tagger, "x-slo-ttft-ms", number)
    for header in TENANT_HEADERS:
        pattern = re.compile(parameters[header]["pattern"])
        for name in ("a", "a" * 128, "a" * 129, "", "a b", "Z9._:/-", "ä"):
            assert bool(pattern.search(name)) == _read(tagger, header, name)


def _read(tagger: Tagger, header: str, value: object) -> bool:
    try:
        tagger.read([(header.encode(), str(value).encode())])
    except TagError:
        return False
    return True


@pytest.mark.parametrize("status", ["200", "400", "401", "403", "413", "429", "431", "502", "503"])
def test_completions_say_how_they_may_end(described: Any, status: str) -> None:
    for path in ("/v1/completions", "/v1/chat/completions", "/v1/responses"):
        assert status in described["paths"][path]["post"]["responses"]
