"""The date of a result."""

import os
from datetime import UTC, datetime

from slosched.core.errors import ConfigError

_EPOCH = "SOURCE_DATE_EPOCH"


def today() -> str:
    """Return the time in UTC, to the second; what SOURCE_DATE_EPOCH says, if it is set.

    https://reproducible-builds.org/specs/source-date-epoch/: whole seconds since 1970.

    Raises
    ------
    ConfigError
        If the variable is no such number.
    """
    given = os.environ.get(_EPOCH)
    if given is None:
        return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    try:
        return f"{datetime.fromtimestamp(int(given), UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (ValueError, OverflowError, OSError):
        raise ConfigError(f"{_EPOCH} must be whole seconds since 1970, got {given}") from None
