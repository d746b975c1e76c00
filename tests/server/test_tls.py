"""HTTPS on both sides: clients of ours, and replicas of which we are a client."""

import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from slosched.core.errors import ConfigError
from slosched_server.settings import ServerSettings
from slosched_server.tls import client_context, server_context
from tests.server.test_serve import HANG_S, Program, serving

PASSWORD = "open sesame"  # noqa: S105 - of this test alone


class Files:
    """An authority, a certificate for loopback, and what may be wrong with it."""

    def __init__(self, folder: Path) -> None:
        authority, other = trustme.CA(), trustme.CA()
        self.ca, self.certificate, self.key = (
            folder / n for n in ("ca.pem", "cert.pem", "key.pem")
        )
        self.client = folder / "client.pem"
        self.locked, self.others, self.text = (folder / n for n in ("locked", "others", "text"))
        issued = authority.issue_cert("127.0.0.1", "localhost")
        authority.cert_pem.write_to_path(self.ca)
        for pem in issued.cert_chain_pems:
            pem.write_to_path(str(self.certificate), append=True)
        issued.private_key_pem.write_to_path(self.key)
        authority.issue_cert("client").private_key_and_cert_chain_pem.write_to_path(self.client)
        other.issue_cert("127.0.0.1").private_key_pem.write_to_path(self.others)
        key = load_pem_private_key(issued.private_key_pem.bytes(), None)
        secret = BestAvailableEncryption(PASSWORD.encode())
        self.locked.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret))
        self.text.write_text("no certificate at all")

    @property
    def flags(self) -> list[str]:
        return ["--ssl-certfile", str(self.certificate), "--ssl-keyfile", str(self.key)]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def pid_file(tmp_path: Path) -> Path:
    return tmp_path / "pids"


@pytest.fixture
def served(pid_file: Path, files: Files) -> Iterator[str]:
    """`slosched serve` by HTTPS; gives the URL."""
    with serving(pid_file, *files.flags, manner="") as program:
        url = program.wait_for(r"listening.*url=(\S+)")
        program.wait_for("engine ready")
        yield url
        program.process.terminate()
        assert program.end() == 0


def _get(url: str, trust: Path, certificate: Path | None = None) -> int:
    context = ssl.create_default_context(cafile=str(trust))
    if certificate is not None:
        context.load_cert_chain(certificate)
    with urllib.request.urlopen(url, timeout=HANG_S, context=context) as answer:  # noqa: S310
        return int(answer.status)


def test_clients_are_served_by_https(served: str, files: Files) -> None:
    assert served.startswith("https://127.0.0.1:")
    assert _get(f"{served}/ready", files.ca) == 200
    with (
        openai.DefaultHttpxClient(verify=ssl.create_default_context(cafile=str(files.ca))) as http,
        openai.OpenAI(base_url=f"{served}/v1", api_key="none", http_client=http) as client,
    ):
        assert [model.id for model in client.models.list()] == ["fake"]
        with client.completions.create(model="fake", prompt="p", stream=True) as stream:
            assert stream.response.status_code == 200
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        _get(f"{served}/ready", files.certificate)


def test_a_replica_behind_https_is_trusted_by_its_authority_alone(
    served: str, files: Files
) -> None:
    trusting = ["--set", f"fleet.ca_certs={files.ca}"]
    for flags, ready in ((trusting, True), ([], False)):
        with Program(["gateway", "--port", "0", "--upstream", served, *flags], {}) as program:
            url = program.wait_for(r"listening.*url=(\S+)")
            if ready:
                with urllib.request.urlopen(f"{url}/ready", timeout=HANG_S) as answer:  # noqa: S310
                    assert answer.status == 200
            else:
                with pytest.raises(urllib.error.HTTPError) as caught:
                    urllib.request.urlopen(f"{url}/v1/models", timeout=HANG_S)  # noqa: S310
                caught.value.close()
                assert caught.value.code == 502
                program.wait_for("CERTIFICATE_VERIFY_FAILED")
            program.process.terminate()
            assert program.end() == 0


def test_clients_without_a_certificate_are_turned_away_where_one_is_asked_for(
    pid_file: Path, files: Files
) -> None:
    with serving(pid_file, *files.flags, "--ssl-ca-certs", str(files.ca), manner="") as program:
        url = program.wait_for(r"listening.*url=(\S+)")
        program.wait_for("engine ready")
        assert _get(f"{url}/health", files.ca, files.client) == 200
        with pytest.raises(OSError, match=r"CERTIFICATE_REQUIRED|reset|closed"):
            _get(f"{url}/health", files.ca)
        program.process.terminate()
        assert program.end() == 0


def test_a_key_may_be_encrypted(files: Files) -> None:
    settings = ServerSettings(
        ssl_certfile=str(files.certificate),
        ssl_keyfile=str(files.locked),
        ssl_keyfile_password=PASSWORD,
    )
    assert server_context(settings) is not None
    assert PASSWORD not in repr(settings)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ssl_certfile": "no.pem"}, "server.ssl_certfile: no.pem: No such file"),
        ({"ssl_keyfile": "no.pem"}, "server.ssl_keyfile: no.pem: No such file"),
        ({"ssl_ca_certs": "no.pem"}, "server.ssl_ca_certs: no.pem: No such file"),
        ({"ssl_ca_certs": "text"}, "server.ssl_ca_certs: .*holds no certificate"),
        ({"ssl_certfile": "text"}, "server.ssl_certfile: .*holds no certificate and key"),
        ({"ssl_keyfile": "others"}, "server.ssl_keyfile: .*is not the key of"),
        ({"ssl_keyfile": "locked"}, "server.ssl_keyfile: .*is encrypted, give"),
        (
            {"ssl_keyfile": "locked", "ssl_keyfile_password": "wrong"},
            "server.ssl_keyfile_password: does not open",
        ),
    ],
)
def test_what_is_wrong_is_said_at_start(files: Files, given: dict[str, str], said: str) -> None:
    paths = {
        name: str(getattr(files, value)) if hasattr(files, value) else value
        for name, value in given.items()
    }
    usual: dict[str, Any] = {"ssl_certfile": str(files.certificate), "ssl_keyfile": str(files.key)}
    with pytest.raises(ConfigError, match=said):
        server_context(ServerSettings(**(usual | paths)))


def test_the_command_says_so_in_one_line(files: Files) -> None:
    flags = ["--ssl-certfile", str(files.certificate), "--ssl-keyfile", str(files.others)]
    with Program(["gateway", "--upstream", "http://127.0.0.1:9", *flags], {}) as program:
        assert program.end() == 2
        assert len(program.lines) == 1
        assert program.lines[0].startswith("error: server.ssl_keyfile: ")
    with Program(["gateway", "--upstream", "http://h:9", "--ssl-keyfile", "k"], {}) as program:
        assert program.end() == 2
        assert program.lines == ["error: --ssl-keyfile: needs an ssl_certfile\n"]


def test_an_authority_must_be_one() -> None:
    assert client_context(None) is None
    with pytest.raises(ConfigError, match=r"fleet\.ca_certs: no\.pem: No such file"):
        client_context("no.pem")
