"""Who may ask, and for what."""

from dataclasses import dataclass

from slosched_server.errors import ApiError
from slosched_server.upstream import RawHeaders


@dataclass(frozen=True, slots=True)
class Access:
    """Without keys everybody may ask for everything, and nobody may change anything."""

    def check_admin(self, headers: RawHeaders) -> None:
        """Raise `ApiError` unless a request may see and change how the front end works."""
        del headers
        message = "there are no keys, and so nobody may administer: see docs/securing.md"
        raise ApiError(403, message, "admin_key_needed", kind="permission_error")
