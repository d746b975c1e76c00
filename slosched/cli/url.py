"""Addresses of servers on the command line."""


def check_url(name: str, url: str) -> None:
    """Refuse what is no root of a server; ConfigError names the option and what to say instead."""
    from urllib.parse import urlsplit

    from slosched.core.errors import ConfigError

    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{name}: must be like http://127.0.0.1:8001, got {url}")
    if parts.query or parts.fragment or parts.path.rstrip("/").endswith("/v1"):
        raise ConfigError(f"{name}: give the server's root, without /v1, got {url}")
