"""The cluster's API: questions and answers in JSON, and streams of lines."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from slosched.core.errors import SloschedError
from slosched.version import __version__

if TYPE_CHECKING:
    from kubernetes_asyncio.client import ApiClient, Configuration

_ANSWERS_S = 20.0  # that an answer may take
_CONNECTS_S = 5.0
_SILENT_S = 10.0  # that a stream may be silent beyond the end that it was asked for

Query = Mapping[str, str]


class ClusterError(SloschedError):
    """The cluster's API said no, or nothing.

    Parameters
    ----------
    status
        Of its answer; 0 if there was none, or it broke off.
    """

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class Api:
    """Asks the API, as whoever the configuration says.

    Parameters
    ----------
    client
        Has the address, certificates, and tokens, which it renews.
    """

    def __init__(self, client: "ApiClient") -> None:
        self._client = client

    async def ask(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: object = None,
        timeout_s: float = _ANSWERS_S,
    ) -> dict[str, Any]:
        """Ask, and return the answer; a PATCH is merged (RFC 7386).

        Raises
        ------
        ClusterError
            If the answer is no, or there is none.
        """
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=_CONNECTS_S)
        async with self._open(method, path, query, body, timeout) as response:
            answer = json.loads(await response.read())
        if not isinstance(answer, dict):
            raise ClusterError(f"{method} {path}: no JSON object was answered")
        return answer

    @asynccontextmanager
    async def lines(
        self, path: str, query: Query, lasts_s: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a stream of lines, which is to end by itself after so many seconds; raises as `ask`.

        A connection that is dead without having said so shows by the end that does not come.
        """
        timeout = aiohttp.ClientTimeout(total=lasts_s + _SILENT_S, sock_connect=_CONNECTS_S)
        async with self._open("GET", path, query, None, timeout) as response:
            yield aiter(response.content)

    @asynccontextmanager
    async def _open(
        self,
        method: str,
        path: str,
        query: Query | None,
        body: object,
        patience: aiohttp.ClientTimeout,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        about = f"{method} {path}"
        response: aiohttp.ClientResponse | None = None
        try:
            configuration = self._client.configuration
            response = await self._client.rest_client.request(
                method,
                f"{configuration.host}{path}",
                query_params=dict(query or {}),
                headers=await self._headers(method),
                body=body,
                _preload_content=False,
                _request_timeout=patience,
            )
            if response.status >= 400:
                said = await response.text()
                raise ClusterError(f"{about}: {response.status} {_message(said)}", response.status)
            yield response
        except TimeoutError:
            raise ClusterError(f"{about}: no answer in time") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ClusterError(f"{about}: {error or type(error).__name__}") from error
        finally:
            if response is not None:
                response.close()

    async def _headers(self, method: str) -> dict[str, str]:
        patch = "application/merge-patch+json"
        headers = {
            "Accept": "application/json",
            "Content-Type": patch if method == "PATCH" else "application/json",
            "User-Agent": f"slosched/{__version__}",
        }
        for setting in (await self._client.configuration.auth_settings()).values():
            if setting["in"] == "header" and setting["value"]:
                headers[setting["key"]] = setting["value"]
        return headers


@asynccontextmanager
async def open_api(
    kubeconfig: Path | None = None, context: str | None = None
) -> AsyncIterator[Api]:
    """Open the API of the cluster that this runs in, or of a kubeconfig.

    Parameters
    ----------
    kubeconfig
        As kubectl has them; None for the rights of the Pod that this runs in.
    context
        Of the kubeconfig; its current one by default.

    Raises
    ------
    ClusterError
        If nobody says where the API is, or kubernetes_asyncio is not installed.
    """
    try:
        from kubernetes_asyncio.client import ApiClient, Configuration
    except ImportError:
        raise ClusterError(
            "discovery in a cluster needs kubernetes_asyncio: pip install 'slosched[kubernetes]'"
        ) from None
    configuration = Configuration()
    await _configure(configuration, kubeconfig, context)
    async with ApiClient(configuration) as client:
        yield Api(client)


async def _configure(
    configuration: "Configuration", kubeconfig: Path | None, context: str | None
) -> None:
    import yaml
    from kubernetes_asyncio.config import (
        ConfigException,
        load_incluster_config,
        load_kube_config,
    )

    try:
        if kubeconfig is None:
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await load_kube_config(
                config_file=str(kubeconfig),
                context=context,
                client_configuration=configuration,
                persist_config=False,
            )
    except (ConfigException, OSError, yaml.YAMLError) as error:
        where = "in a Pod without a kubeconfig" if kubeconfig is None else str(kubeconfig)
        raise ClusterError(f"cannot find the cluster's API, {where}: {error}") from error


def _message(said: str) -> str:
    """Return what a Status object says, or the text that is none."""
    try:
        return str(json.loads(said)["message"])
    except (ValueError, KeyError, TypeError):
        return said[:200]
