"""TLS: what clients are shown, and whom we trust when we are the client."""

import ssl
from pathlib import Path

from slosched.core.errors import ConfigError
from slosched_server.settings import ServerSettings


def server_context(settings: ServerSettings) -> ssl.SSLContext | None:
    """Load certificate and key; None where plain HTTP is served.

    Raises
    ------
    ConfigError
        If a file is missing or no PEM, the password is wrong, or the key is of another certificate.
    """
    if settings.ssl_certfile is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate = _there("server.ssl_certfile", settings.ssl_certfile)
    key = settings.ssl_keyfile and _there("server.ssl_keyfile", settings.ssl_keyfile)
    try:
        # Without an answer OpenSSL would ask on the terminal.
        context.load_cert_chain(certificate, key, lambda: settings.ssl_keyfile_password or "")
    except (OSError, ValueError) as error:
        raise ConfigError(_why_not(error, settings)) from None
    if settings.ssl_ca_certs is not None:
        _trust("server.ssl_ca_certs", settings.ssl_ca_certs, context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(ca_certs: str | None) -> ssl.SSLContext | None:
    """Trust the authorities in a PEM file alone; None for those that the system trusts.

    Raises
    ------
    ConfigError
        If the file is missing or no PEM.
    """
    if ca_certs is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _trust("fleet.ca_certs", ca_certs, context)
    return context


def _there(name: str, path: str) -> str:
    try:
        with Path(path).open("rb"):
            return path
    except OSError as error:
        raise ConfigError(f"{name}: {path}: {error.strerror}") from None


def _trust(name: str, path: str, context: ssl.SSLContext) -> None:
    try:
        context.load_verify_locations(_there(name, path))
    except ssl.SSLError:
        raise ConfigError(f"{name}: {path}: holds no certificate in PEM") from None


def _why_not(error: Exception, settings: ServerSettings) -> str:
    key = settings.ssl_keyfile or settings.ssl_certfile
    if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
        return f"server.ssl_keyfile: {key}: is not the key of {settings.ssl_certfile}"
    encrypted = b"ENCRYPTED" in Path(str(key)).read_bytes()
    if encrypted and settings.ssl_keyfile_password is None:
        return f"server.ssl_keyfile: {key}: is encrypted, give ssl_keyfile_password"
    if encrypted:
        return f"server.ssl_keyfile_password: does not open {key}"
    return f"server.ssl_certfile: {settings.ssl_certfile}: holds no certificate and key in PEM"
