"""What a process tells of itself, whatever else it serves: health, metrics, the live page."""

import asyncio
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.responses import Response

from slosched_server.admin import Admin
from slosched_server.dashboard.dashboard import Dashboard
from slosched_server.errors import ApiError, not_ready, plain_http, stopping
from slosched_server.metrics import Metrics
from slosched_server.rules import RulesInForce


def status_app(
    in_force: RulesInForce,
    metrics: Metrics,
    is_ready: Callable[[], Awaitable[bool]],
    admin: Admin | None,
    dashboard: Dashboard,
) -> FastAPI:
    """Build an application that tells of a process.

    Parameters
    ----------
    in_force
        Who may see what.
    metrics
        Shown in Prometheus' text format.
    is_ready
        Whether requests would be served now.
    admin
        What may be done while it serves; nothing without.
    dashboard
        The live page.
    """
    app = FastAPI(
        title="slosched", redirect_slashes=False, openapi_url=None, docs_url=None, redoc_url=None
    )
    # Set when the server is to stop: whoever answers without an end has to come to one then.
    app.state.stopping = asyncio.Event()
    app.router.routes += [*(admin.routes() if admin else ()), *dashboard.routes()]

    @app.get("/health")
    async def health() -> Response:
        """Answer 200: this process lives, and starting it again would help nobody."""
        return Response()

    @app.get("/ready")
    async def ready() -> Response:
        """Answer 200 where requests are served, else 503; and 503 once this process is to stop."""
        if app.state.stopping.is_set():
            return stopping().response()
        return Response() if await is_ready() else not_ready().response()

    @app.get("/metrics")
    async def show_metrics(request: Request) -> Response:
        """Answer the process's own metrics, in Prometheus' text format."""
        client = request.client.host if request.client else ""
        in_force.rules.access.check_metrics(client, request.headers.raw)
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    app.add_exception_handler(HTTPException, _plain_http)
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(Exception, _unexpected)
    return app


async def _plain_http(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    headers = dict(error.headers) if error.headers else None
    return plain_http(error.status_code, error.detail).response(headers)


async def _api_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, ApiError):
        raise error
    return error.response()


async def _unexpected(_: Request, __: Exception) -> Response:
    return plain_http(500, "Internal Server Error").response()
