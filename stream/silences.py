"""Silences: alerts that nobody needs to be told of for a while, who said so, and why."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from stream.errors import ConfigurationError
from stream.matchers import Matchers
from stream.messages import AlertMessage, Time


class Silence(BaseModel):
    """Alerts that match are not delivered from ``starts`` (included) to ``until`` (not included); they are kept all the same."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    match: Annotated[tuple[str, ...], Field(min_length=1)]
    """Matchers, as ``stream.matchers`` reads them: at least one, as a silence of everything must be written out."""
    starts: Time
    until: Time
    who: Annotated[str, Field(min_length=1, max_length=200)]
    why: Annotated[str, Field(min_length=1, max_length=2000)]

    @model_validator(mode="after")
    def _can_be(self) -> Silence:
        try:
            matchers = Matchers.parse(self.match)
        except ConfigurationError as error:
            raise ValueError(str(error)) from None
        if any(matcher.field == "status" for matcher in matchers.every):
            raise ValueError("status is not for silences: they keep beginnings from being told")
        if self.until < self.starts:
            raise ValueError("a silence cannot end before it starts")
        return self

    def active(self, now: datetime) -> bool:
        """Whether it holds now."""
        return self.starts <= now < self.until

    def covers(self, alert: AlertMessage) -> bool:
        """Whether the alert is meant; says nothing of the time."""
        return Matchers.parse(self.match).match(alert)
