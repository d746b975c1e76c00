"""The front end as an ASGI application."""

import asyncio
from collections.abc import Sequence

from fastapi import FastAPI, Request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from slosched_server.access_log import AccessLog
from slosched_server.admin import Admin
from slosched_server.dashboard.dashboard import Dashboard
from slosched_server.direct import Direct
from slosched_server.errors import ApiError, not_ready, plain_http, stopping
from slosched_server.metrics import Metrics
from slosched_server.proxy import Completions, PassThrough
from slosched_server.rules import RulesInForce
from slosched_server.settings import ServerSettings
from slosched_server.upstream import Upstream, healthy
from slosched_server.watcher import Watcher, Watchers


def create_app(
    settings: ServerSettings,
    in_force: RulesInForce,
    upstream: Upstream,
    registry: CollectorRegistry | None = None,
    *,
    admin: Admin | None = None,
    dashboard: Dashboard | None = None,
    watchers: Sequence[Watcher] = (),
) -> FastAPI:
    """Build the application.

    Parameters
    ----------
    settings
        Limits and timeouts.
    in_force
        What requests are held to.
    upstream
        The engine.
    registry
        Where the metrics live; a fresh one by default.
    admin
        What may be done while it serves; nothing by default.
    dashboard
        The live page; by default one that knows of no queue.
    watchers
        Told of requests, beside the metrics.
    """
    metrics = Metrics(registry or CollectorRegistry())
    app = FastAPI(
        title="slosched", redirect_slashes=False, openapi_url=None, docs_url=None, redoc_url=None
    )
    # Set when the server is to stop: whoever answers without an end has to come to one then.
    app.state.stopping = asyncio.Event()
    dashboard = dashboard or Dashboard(in_force)
    limit = settings.max_body_bytes
    told = [metrics, dashboard.recent, *([AccessLog()] if settings.access_log else ()), *watchers]
    watcher = Watchers(told)
    completions = Completions(in_force, upstream, watcher, limit)
    passed_on = PassThrough(in_force, upstream, watcher, limit)
    endpoints: dict[tuple[str, str], ASGIApp] = {
        ("POST", "/v1/chat/completions"): completions,
        ("POST", "/v1/completions"): completions,
        ("POST", "/v1/responses"): Completions(
            in_force, upstream, watcher, limit, named_events=True
        ),
        ("POST", "/v1/embeddings"): passed_on,
        ("GET", "/v1/models"): passed_on,
    }
    # Routes as well: whoever asks for them in another way hears that it is not allowed.
    app.router.routes += [Route(path, to, methods=[how]) for (how, path), to in endpoints.items()]
    app.router.routes += [
        Route("/v1/responses/{response_id}", passed_on, methods=["GET"]),
        Route("/v1/responses/{response_id}/cancel", passed_on, methods=["POST"]),
        *(admin.routes() if admin else ()),
        *dashboard.routes(),
    ]
    app.add_middleware(Direct, endpoints)

    @app.get("/health")
    async def health() -> Response:
        """Answer 200: this process lives, and starting it again would help nobody."""
        return Response()

    @app.get("/ready")
    async def ready() -> Response:
        """Answer 200 where the engine does, else 503; and 503 once this process is to stop."""
        if app.state.stopping.is_set():
            return stopping().response()
        there = await healthy(upstream, settings.connect_timeout_s)
        return Response() if there else not_ready().response()

    @app.get("/metrics")
    async def show_metrics(request: Request) -> Response:
        """Answer the front end's own metrics, in Prometheus' text format."""
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
