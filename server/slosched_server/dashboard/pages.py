"""The files of the page, and the headers that keep it to them."""

from importlib.resources import files

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from slosched_server.errors import not_found

_TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
_PAGE = "page.html"
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


class Pages:
    """The endpoint of the files, which everybody may have: they say nothing of what is served."""

    def __init__(self) -> None:
        folder = files("slosched_server.dashboard") / "static"
        self._files = {name: (folder / name).read_bytes() for name in (_PAGE, *_FILES)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the one of that name, or the page where the path has none."""
        name = scope["path_params"].get("name", _PAGE)
        body = self._files.get(name)
        if body is None:
            await not_found(f"the page has no file {name!r}").response()(scope, receive, send)
            return
        kind = _TYPES[name.rpartition(".")[2]]
        await Response(body, headers=SAFE, media_type=kind)(scope, receive, send)
