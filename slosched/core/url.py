"""Addresses of servers."""

from urllib.parse import urlsplit


def check_root(url: str) -> str:
    """Return the URL of a server's root; ValueError if it is none, with what to say instead."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"must be like http://127.0.0.1:8001, got {url}")
    if parts.username or parts.password:
        raise ValueError("must not have a user or a password in it: nobody would be told of them")
    if parts.query or parts.fragment or parts.path.rstrip("/").endswith("/v1"):
        raise ValueError(f"give the server's root, without /v1, got {url}")
    return url.rstrip("/")
