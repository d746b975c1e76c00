"""`slosched serve` and `slosched gateway`: live traffic, with and without an engine of our own."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from slosched.cli.url import check_url

if TYPE_CHECKING:
    from slosched.config.schema import Settings
    from slosched_server.settings import ServerSettings

# The engine is ours alone: clients come through the front end.
_ENGINE_HOST = "127.0.0.1"

# Flags of vLLM that would make it a server we do not know of, and what to say instead.
_OURS = {
    "--host": "clients come through the front end, see --host before the --",
    "--port": "use --engine-port",
    "--model": "name it once, as MODEL",
    "--uds": "use --engine-port",
    "--ssl-keyfile": "the engine listens on loopback alone",
    "--ssl-certfile": "the engine listens on loopback alone",
}

Host = Annotated[
    str | None, typer.Option(help="Address to listen on; else server.host of the configuration.")
]
Port = Annotated[
    int | None,
    typer.Option(
        min=0, max=65535, metavar="PORT", help="Port to listen on, 0 for any; else server.port."
    ),
]
Certfile = Annotated[
    Path | None,
    typer.Option("--ssl-certfile", help="Certificate chain in PEM: serve HTTPS, not HTTP."),
]
Keyfile = Annotated[
    Path | None, typer.Option("--ssl-keyfile", help="Its private key, if it is in another file.")
]
KeyPassword = Annotated[
    str | None,
    typer.Option(
        "--ssl-keyfile-password",
        metavar="TEXT",
        help="Of the key; SLOSCHED_SERVER__SSL_KEYFILE_PASSWORD shows it to fewer.",
    ),
]
CaCerts = Annotated[
    Path | None,
    typer.Option("--ssl-ca-certs", help="Clients must show a certificate of these authorities."),
]


def serve(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model folder or name.")],
    vllm_args: Annotated[
        list[str] | None, typer.Argument(metavar="[-- VLLM_FLAGS...]", help="Handed to vLLM.")
    ] = None,
    config: Config = None,
    set_: Set = None,
    policy: Annotated[
        str | None, typer.Option(help="Schedule by this one, with its defaults.", metavar="NAME")
    ] = None,
    host: Host = None,
    port: Port = None,
    ssl_certfile: Certfile = None,
    ssl_keyfile: Keyfile = None,
    ssl_keyfile_password: KeyPassword = None,
    ssl_ca_certs: CaCerts = None,
    engine_port: Annotated[
        int,
        typer.Option(min=0, max=65535, metavar="PORT", help="vLLM's own port, 0 for any free one."),
    ] = 0,
    log_format: LogFormatOption = LogFormat.text,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Start vLLM with the SLO-aware scheduler, and the front end before it.

    Ends with SIGINT or SIGTERM: requests in flight finish first, and no process is left behind.

    \b
    Examples:
      slosched serve Qwen/Qwen3-8B --config slosched.yaml
      slosched serve ./model --policy edf --port 9000 -- --max-num-seqs 32 --dtype float16
    """  # noqa: D301  (\b is typer's mark for lines that stay as they are)
    with reported(verbose, quiet, log_format):
        _check_model(model)
        _check_flags(vllm_args or [])
        settings, overrides = load(config, set_, policy)
        settings.planner()  # what the engine could not use is told before it is started
        settings.latency()
        server = server_settings(
            settings,
            host=host,
            port=port,
            ssl_certfile=ssl_certfile,
            ssl_keyfile=ssl_keyfile,
            ssl_keyfile_password=ssl_keyfile_password,
            ssl_ca_certs=ssl_ca_certs,
        )
        _check_ports(server.port, engine_port)

        from slosched.config.live import LiveConfig
        from slosched_server.child import EngineCommand
        from slosched_server.listen import free_port
        from slosched_server.run import run_engine

        engine_port = free_port(_ENGINE_HOST, engine_port)
        command = EngineCommand(
            engine_arguments(model, engine_port, vllm_args or []),
            engine_environment(config, overrides),
        )
        source = LiveConfig(config, overrides, queue=False, host=server.host)
        url = f"http://{_ENGINE_HOST}:{engine_port}"
        run_engine(server, source, command, url, settings.telemetry)


def gateway(
    upstream: Annotated[
        list[str] | None,
        typer.Option(
            help="Root URL of a vLLM server, without /v1; once for each replica. Else "
            "fleet.replicas of the configuration.",
            metavar="URL",
        ),
    ] = None,
    config: Config = None,
    set_: Set = None,
    host: Host = None,
    port: Port = None,
    ssl_certfile: Certfile = None,
    ssl_keyfile: Keyfile = None,
    ssl_keyfile_password: KeyPassword = None,
    ssl_ca_certs: CaCerts = None,
    log_format: LogFormatOption = LogFormat.text,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Start the front end alone, before vLLM servers that run already.

    A server schedules by SLO if it was started with `--scheduler-cls slosched.vllm.SloScheduler`.
    Before one server requests are passed on as they come. Before several they wait here in one
    queue, until the replica that the plan names has room.

    \b
    Examples:
      slosched gateway --upstream http://127.0.0.1:8001 --config slosched.yaml
      slosched gateway --upstream http://127.0.0.1:8001 --upstream http://127.0.0.1:8002
    """  # noqa: D301  (\b is typer's mark for lines that stay as they are)
    with reported(verbose, quiet, log_format):
        from slosched.config.live import LiveConfig
        from slosched.core.errors import ConfigError
        from slosched_server.run import run_fleet, run_gateway
        from slosched_server.tls import client_context

        for url in upstream or []:
            check_url("--upstream", url)
        settings, overrides = load(config, set_)
        if upstream:
            replicas = json.dumps([{"url": url} for url in upstream])
            settings, overrides = load(config, [*overrides, f"fleet.replicas={replicas}"])
        if not settings.fleet.replicas:
            raise ConfigError("--upstream: name a server, or replicas in the section fleet")
        server = server_settings(
            settings,
            host=host,
            port=port,
            ssl_certfile=ssl_certfile,
            ssl_keyfile=ssl_keyfile,
            ssl_keyfile_password=ssl_keyfile_password,
            ssl_ca_certs=ssl_ca_certs,
        )
        queue = upstream is None or len(upstream) > 1
        source = LiveConfig(config, overrides, queue=queue, host=server.host)
        trust = client_context(settings.fleet.ca_certs)
        if source.queue:
            run_fleet(server, source, settings.dispatcher(), trust, settings.telemetry)
        else:
            url = settings.fleet.replicas[0].url
            run_gateway(server, source, url, trust, settings.telemetry)


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command()(serve)
    app.command()(gateway)


def engine_arguments(model: str, port: int, vllm_args: Sequence[str]) -> list[str]:
    """Write the engine's command line; the user's flags come last, so that they win."""
    return [
        sys.executable,
        *("-m", "slosched.vllm.launch"),
        *("--model", model),
        *("--host", _ENGINE_HOST, "--port", str(port)),
        *("--scheduler-cls", "slosched.vllm.SloScheduler"),
        *vllm_args,
    ]


def engine_environment(config: Path | None, overrides: Sequence[str]) -> dict[str, str]:
    """Write the environment that tells the scheduler, in the engine's process, its settings."""
    environment = {"SLOSCHED_SET": json.dumps(list(overrides))}
    if config is not None:
        environment["SLOSCHED_CONFIG"] = str(config.absolute())
    return environment


def server_settings(settings: "Settings", **options: str | int | Path | None) -> "ServerSettings":
    """Put options over the section `server`; those that are None were not given."""
    from slosched.core.errors import ConfigError

    given: dict[str, Any] = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in options.items()
        if value is not None
    }
    try:
        return replace(settings.server, **given)
    except ValueError as error:
        option = str(error).partition(":")[0].replace("_", "-")
        raise ConfigError(f"--{option}{str(error)[len(option) :]}") from error


def _check_model(model: str) -> None:
    from slosched.core.errors import ConfigError

    # A name on a model hub has one slash at most.
    if "://" in model:
        return
    looks_like_a_path = model.startswith(("/", ".", "~")) or model.count(os.sep) > 1
    if looks_like_a_path and not Path(model).exists():
        raise ConfigError(f"MODEL: no such folder: {model}")


def _check_flags(vllm_args: Sequence[str]) -> None:
    from slosched.core.errors import ConfigError

    for flag in vllm_args:
        if (name := flag.split("=")[0]) in _OURS:
            raise ConfigError(f"{name} is not for vLLM to set here: {_OURS[name]}")


def _check_ports(port: int, engine_port: int) -> None:
    from slosched.core.errors import ConfigError

    if port == engine_port != 0:
        raise ConfigError(f"--engine-port: {port} is the port of the front end")
