"""`slosched picker`: tells Envoy where each request goes, and when."""

import json
import os
import socket
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from slosched.cli.common import (
    Config,
    LogFormat,
    LogFormatOption,
    Quiet,
    Set,
    Verbose,
    load,
    reported,
)
from slosched.cli.serve import CaCerts, Certfile, Keyfile, server_settings
from slosched.cli.url import check_url

if TYPE_CHECKING:
    from slosched.config.schema import Settings
    from slosched_server.picker.place import InCluster

_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def _port(what: str) -> object:
    return typer.Option(min=0, max=65535, metavar="PORT", help=what)


def picker(
    upstream: Annotated[
        list[str] | None,
        typer.Option(
            help="Root URL of a vLLM server, http://IP:PORT as Envoy knows it; once for each "
            "replica. Else fleet.replicas of the configuration, or --pool-name.",
            metavar="URL",
        ),
    ] = None,
    pool_name: Annotated[
        str | None,
        typer.Option(help="InferencePool whose Pods are the replicas.", metavar="NAME"),
    ] = None,
    pool_namespace: Annotated[
        str | None,
        typer.Option(help="Its namespace; by default the Pod's own, else default.", metavar="NAME"),
    ] = None,
    kubeconfig: Annotated[
        Path | None,
        typer.Option(help="How the cluster is reached; by default as a Pod in it does."),
    ] = None,
    context: Annotated[
        str | None, typer.Option(help="Of the kubeconfig; else its current one.", metavar="NAME")
    ] = None,
    elect: Annotated[
        bool,
        typer.Option(
            "--elect/--no-elect",
            help="Be one of several pickers, of which whoever holds a Lease is asked.",
        ),
    ] = False,
    config: Config = None,
    set_: Set = None,
    host: Annotated[str, typer.Option(help="Address of all ports.")] = "0.0.0.0",  # noqa: S104
    port: Annotated[int, _port("For Envoy: external processing by gRPC.")] = 9002,
    health_port: Annotated[int, _port("For gRPC health checks alone.")] = 9003,
    metrics_port: Annotated[int, _port("For metrics and the live page, by HTTP.")] = 9090,
    ssl_certfile: Certfile = None,
    ssl_keyfile: Keyfile = None,
    ssl_ca_certs: CaCerts = None,
    log_format: LogFormatOption = LogFormat.text,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Be the endpoint picker of an Envoy or of an inference gateway.

    Envoy asks where each request goes (external processing, endpoint picker protocol 1.0); it is
    answered once the plan has a place for it. The replicas are vLLM servers of a Kubernetes
    InferencePool, or those that are named.

    \b
    Examples:
      slosched picker --pool-name vllm --elect --config slosched.yaml
      slosched picker --upstream http://127.0.0.1:8001 --upstream http://127.0.0.1:8002
    """  # noqa: D301  (\b is typer's mark for lines that stay as they are)
    with reported(verbose, quiet, log_format):
        _check_installed(in_cluster=pool_name is not None)
        settings, overrides = load(config, set_)
        settings, overrides = _replicas(settings, overrides, config, upstream, pool_name)

        from slosched.config.live import LiveConfig
        from slosched_server.picker.place import Place
        from slosched_server.picker.run import run_picker
        from slosched_server.tls import client_context

        server = server_settings(
            settings,
            ssl_certfile=ssl_certfile,
            ssl_keyfile=ssl_keyfile,
            ssl_ca_certs=ssl_ca_certs,
        )
        cluster = _cluster(pool_name, pool_namespace, kubeconfig, context, elect=elect)
        place = Place(host, port, health_port, metrics_port, cluster)
        # Clients come through the gateway: whether they need keys is its affair, too.
        source = LiveConfig(
            config, overrides, queue=True, discovers=cluster is not None, host="127.0.0.1"
        )
        trust = client_context(settings.fleet.ca_certs)
        run_picker(server, source, settings.dispatcher(), place, trust, settings.telemetry)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(picker)


def _check_installed(*, in_cluster: bool) -> None:
    from slosched.core.errors import ConfigError

    extra = "kubernetes" if in_cluster else "picker"
    try:
        import h2
        from google import protobuf
    except ImportError as error:
        raise ConfigError(
            f"the picker needs {error.name}: pip install 'slosched[{extra}]'"
        ) from None
    del h2, protobuf


def _replicas(
    settings: "Settings",
    overrides: list[str],
    config: Path | None,
    upstream: Sequence[str] | None,
    pool_name: str | None,
) -> tuple["Settings", list[str]]:
    """Return the configuration with the replicas that the command line names."""
    from slosched.core.errors import ConfigError

    if upstream and pool_name:
        raise ConfigError("--upstream: the Pods of --pool-name are the replicas; give one of them")
    for url in upstream or []:
        check_url("--upstream", url)
    if upstream:
        named = json.dumps([{"url": url} for url in upstream])
        settings, overrides = load(config, [*overrides, f"fleet.replicas={named}"])
    if pool_name and settings.fleet.replicas:
        raise ConfigError("fleet.replicas: the Pods of --pool-name are the replicas; name none")
    if not pool_name and not settings.fleet.replicas:
        raise ConfigError(
            "--pool-name: name an InferencePool, or a server by --upstream, or replicas in the "
            "section fleet"
        )
    for replica in settings.fleet.replicas:
        _check_address(replica.url)
    return settings, overrides


def _check_address(url: str) -> None:
    from slosched.core.errors import ConfigError

    parts = urlsplit(url)
    try:
        ip_address(str(parts.hostname))
    except ValueError:
        raise ConfigError(
            f"--upstream: Envoy knows replicas by IP and port, like http://127.0.0.1:8001; got "
            f"{url}"
        ) from None
    if parts.port is None:
        raise ConfigError(f"--upstream: give the port, like http://127.0.0.1:8001; got {url}")


def _cluster(
    pool: str | None,
    namespace: str | None,
    kubeconfig: Path | None,
    context: str | None,
    *,
    elect: bool,
) -> "InCluster | None":
    from slosched.core.errors import ConfigError
    from slosched_server.picker.place import InCluster

    if pool is None:
        given = {
            "--pool-namespace": namespace,
            "--kubeconfig": kubeconfig,
            "--context": context,
            "--elect": elect,
        }
        for name, value in given.items():
            if value:
                raise ConfigError(f"{name}: needs --pool-name, as it is about a cluster")
        return None
    if context is not None and kubeconfig is None:
        raise ConfigError("--context: needs --kubeconfig, of which it is one")
    if namespace is None:
        in_pod = _NAMESPACE.exists() and kubeconfig is None
        namespace = _NAMESPACE.read_text().strip() if in_pod else "default"
    identity = os.environ.get("POD_NAME") or f"{socket.gethostname()}_{os.getpid()}"
    return InCluster(pool, namespace, kubeconfig, context, identity if elect else "")
