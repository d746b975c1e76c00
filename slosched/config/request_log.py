"""The section `request_log`: what is kept of finished requests, to train predictors from."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_serializer


class RequestLogSettings(BaseModel):
    """A bounded log of finished requests; there is none unless it is asked for.

    With `texts`, prompts and answers are part of it: what users wrote, in the clear.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    max_mb: float = Field(default=100.0, gt=0, allow_inf_nan=False)
    files: int = Field(default=5, ge=1, le=100)
    texts: bool = False

    @field_serializer("path")
    def _as_text(self, path: Path) -> str:
        return str(path)
