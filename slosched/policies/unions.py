"""How configuration tells the members of a union apart."""

from typing import Any

from pydantic import BeforeValidator, Field


def by_kind(default: str) -> tuple[BeforeValidator, Any]:
    """Annotate a union of dataclasses with `kind`, which may be left out for the default's."""

    def complete(value: object) -> object:
        return {"kind": default, **value} if isinstance(value, dict) else value

    return BeforeValidator(complete), Field(discriminator="kind")
