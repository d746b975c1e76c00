"""The front end as an ASGI application."""

from collections.abc import Sequence

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.routing import Route
from starlette.types import ASGIApp

from slosched_server.access_log import AccessLog
from slosched_server.admin import Admin
from slosched_server.dashboard.dashboard import Dashboard
from slosched_server.direct import Direct
from slosched_server.metrics import Metrics
from slosched_server.proxy import Completions, PassThrough
from slosched_server.rules import RulesInForce
from slosched_server.settings import ServerSettings
from slosched_server.status_app import status_app
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
    dashboard = dashboard or Dashboard(in_force)

    async def ready() -> bool:
        return await healthy(upstream, settings.connect_timeout_s)

    app = status_app(in_force, metrics, ready, admin, dashboard)
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
    ]
    app.add_middleware(Direct, endpoints)
    return app
