"""What all parts of the configuration share."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of the configuration: unknown fields are errors, since a misspelt one would be ignored in silence."""

    model_config = ConfigDict(extra="forbid", frozen=True)
