"""Running the picker until it is told to stop."""

import asyncio
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, replace
from functools import partial

import grpc
import structlog
import uvloop
from prometheus_client import CollectorRegistry

from slosched.dispatch import Dispatcher
from slosched_server.access_log import AccessLog
from slosched_server.admin import Admin
from slosched_server.config_reloads import ConfigReloads
from slosched_server.connections import Connections
from slosched_server.control import Control
from slosched_server.dashboard.dashboard import Dashboard
from slosched_server.dashboard.hindsight import rehearse
from slosched_server.fleet import Fleet
from slosched_server.garbage import collect_less
from slosched_server.http_upstream import HttpUpstream
from slosched_server.listen import PortError, listen
from slosched_server.metrics import Metrics
from slosched_server.notify import notify
from slosched_server.picker.desk import Desk
from slosched_server.picker.role import Role
from slosched_server.picker.service import Health, health_server, picker_server
from slosched_server.rules import FleetRules, RulesSource
from slosched_server.serving import HttpServer
from slosched_server.settings import ServerSettings
from slosched_server.signals import StopSignals
from slosched_server.status_app import status_app
from slosched_server.watcher import Watchers

log = structlog.get_logger()

_LOOK_EVERY_S = 0.25
