"""The files of the page, and the headers that keep it to them."""

from importlib.resources import files

from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

_TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
_FILES = ("style.css", "icon.svg", "app.js", "draw.js", "queue.js", "settings.js", "words.js")
SAFE = {
    # Nothing from elsewhere, nothing inline, in nobody's frame.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def page_routes() -> list[Route]:
    """Return the routes of what everybody may have: it says nothing of what is served."""
    paths = {"/dashboard": "page.html", **{f"/dashboard/{name}": name for name in _FILES}}
    return [Route(path, _File(name), methods=["GET"]) for path, name in paths.items()]


class _File:
    """The endpoint of one file."""

    def __init__(self, name: str) -> None:
        self._body = (files("slosched_server.dashboard") / "static" / name).read_bytes()
        self._type = _TYPES[name.rpartition(".")[2]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer it."""
        await Response(self._body, headers=SAFE, media_type=self._type)(scope, receive, send)
