"""Addresses of servers on the command line."""


def check_url(name: str, url: str) -> None:
    """Refuse what is no root of a server; ConfigError names the option and what to say instead."""
    from slosched.core.errors import ConfigError
    from slosched.core.url import check_root

    try:
        check_root(url)
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from None
