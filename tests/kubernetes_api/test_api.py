"""Where the API is, as whom it is asked, and what is said where it is not."""

import asyncio
import ssl
import sys
from pathlib import Path

import pytest
import trustme
import yaml
from kubernetes_asyncio.config import incluster_config

from slosched_server.kubernetes.api import ClusterError, open_api
from slosched_server.kubernetes.kinds import PODS
from tests.kubernetes_api.discovering import fake
from tests.kubernetes_api.fake_api import FakeApi
from tests.kubernetes_api.objects import NAMESPACE

PATH = PODS.path(NAMESPACE)


def opened(kubeconfig: Path | None = None, context: str | None = None) -> None:
    async def main() -> None:
        async with open_api(kubeconfig, context) as api:
            await api.ask("GET", PATH)

    asyncio.run(main())


def test_without_the_package_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*sys.modules]:
        if name.startswith("kubernetes_asyncio"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "kubernetes_asyncio", None)
    with pytest.raises(ClusterError, match=r"pip install 'slosched\[kubernetes\]'"):
        opened()


def test_where_nobody_says_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ClusterError, match="in a Pod without a kubeconfig"):
        opened()
    with pytest.raises(ClusterError, match="no-such-file"):
        opened(tmp_path / "no-such-file")
    broken = tmp_path / "broken"
    broken.write_text("{")
    with pytest.raises(ClusterError, match="broken"):
        opened(broken)


def test_no_such_context_and_nobody_there(tmp_path: Path) -> None:
    async def main() -> None:
        server = FakeApi()
        async with server:
            config = server.kubeconfig(tmp_path)
        async with open_api(config) as api:
            with pytest.raises(ClusterError) as refused:
                await api.ask("GET", PATH)
        assert refused.value.status == 0
        async with open_api(config, "fake"):
            pass
        with pytest.raises(ClusterError, match="other"):
            async with open_api(config, "other"):
                pass

    asyncio.run(main())


def test_what_the_api_says_is_passed_on(tmp_path: Path) -> None:
    async def main() -> None:
        async with fake(tmp_path) as (server, api, _):
            server.failures = 1
            with pytest.raises(ClusterError, match="500 etcd is away"):
                await api.ask("GET", PATH)
            server.delay_s = 3600.0
            with pytest.raises(ClusterError, match="no answer in time"):
                await api.ask("GET", PATH, timeout_s=0.1)

    asyncio.run(main())


def test_in_a_pod_by_its_token_which_is_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By HTTPS, as whoever the service account is; tokens on disk are replaced by the hour."""
    authority = trustme.CA()
    (tmp_path / "ca.crt").write_bytes(authority.cert_pem.bytes())
    token = tmp_path / "token"
    token.write_text("first")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    period = incluster_config.TOKEN_REFRESH_PERIOD
    monkeypatch.setattr(incluster_config, "TOKEN_REFRESH_PERIOD", period * 0)

    async def main() -> None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(tls)
        async with FakeApi(tls, "first") as server:
            monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
            monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
            async with open_api() as api:
                assert (await api.ask("GET", PATH))["items"] == []
                server.token = server.token[::-1]
                with pytest.raises(ClusterError, match="401"):
                    await api.ask("GET", PATH)
                token.write_text(server.token)
                assert (await api.ask("GET", PATH))["items"] == []

    asyncio.run(main())


def test_a_kubeconfig_with_a_token(tmp_path: Path) -> None:
    async def main() -> None:
        async with FakeApi(token="secret") as server:
            path = server.kubeconfig(tmp_path)
            config = yaml.safe_load(path.read_text())
            config["users"][0]["user"] = {"token": "secret"}
            path.write_text(yaml.safe_dump(config))
            async with open_api(path) as api:
                assert (await api.ask("GET", PATH))["items"] == []

    asyncio.run(main())
