"""The relay's part of the configuration: where alerts go, which of them, how many at a time, how often it is tried."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from stream.errors import ConfigurationError
from stream.matchers import Matchers
from workers.durations import Duration
from workers.section import Section

PAGERDUTY = "https://events.pagerduty.com/v2/enqueue"
HTTP_TYPES = ("webhook", "cloudevents", "pagerduty", "alertmanager")


def _read_secret(given: Any) -> Any:
    """A secret as it stands, or ``{file: PATH}`` or ``{env: NAME}``: where it is to be found. Never quoted in an error."""
    if not isinstance(given, dict):
        return given
    if set(given) == {"file"}:
        try:
            return Path(str(given["file"])).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"the file of the secret cannot be read: {type(error).__name__}") from None
    if set(given) == {"env"}:
        found = os.environ.get(str(given["env"]))
        if not found:
            raise ValueError(f"the environment has no {given['env']}, or it is empty")
        return found
    raise ValueError("a secret is text, {file: PATH} or {env: NAME}")


Secret = Annotated[SecretStr, BeforeValidator(_read_secret)]


class TargetSettings(Section):
    """One place that alerts are delivered to."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,49}$")]
    type: Literal["webhook", "cloudevents", "pagerduty", "alertmanager", "kafka"]
    url: Secret | None = None
    topic: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")] | None = None
    routing_key: Secret | None = None
    hmac_key: Secret | None = None
    authorization: Secret | None = None
    match: tuple[str, ...] = ()
    group_by: tuple[Literal["feed", "kind", "severity"], ...] = ()
    group_wait: Duration = 10_000_000
    group_interval: Duration = 60_000_000
    rate_limit: int = Field(default=0, ge=0)
    rate_period: Duration = 3_600_000_000
    timeout: Duration = 10_000_000
    attempts: int = Field(default=40, ge=1)
    retry_first: Duration = 1_000_000
    retry_longest: Duration = 60_000_000
    resend: Duration = 60_000_000
    backlog: int = Field(default=1_000, ge=1, le=100_000)

    @field_validator("match")
    @classmethod
    def _matchers(cls, match: tuple[str, ...]) -> tuple[str, ...]:
        try:
            matchers = Matchers.parse(match)
        except ConfigurationError as error:
            raise ValueError(str(error)) from None
        if any(matcher.field == "status" for matcher in matchers.every):
            raise ValueError("status is not for targets: whoever was told that an alert fires is told its end")
        return match

    @model_validator(mode="after")
    def _fits_its_type(self) -> TargetSettings:
        if self.type == "kafka" and (self.topic is None or self.url is not None):
            raise ValueError("a target of type kafka needs topic, and has no url")
        if self.type != "kafka" and self.topic is not None:
            raise ValueError("topic is for targets of type kafka")
        if self.type in ("webhook", "cloudevents", "alertmanager") and self.url is None:
            raise ValueError(f"a target of type {self.type} needs url")
        if (self.type == "pagerduty") != (self.routing_key is not None):
            raise ValueError("routing_key is for targets of type pagerduty, which need it")
        if self.group_by and self.type in ("alertmanager", "kafka"):
            raise ValueError(f"group_by is not for type {self.type}, which takes every alert by itself")
        for name in ("timeout", "retry_first", "retry_longest", "resend", "rate_period"):
            if getattr(self, name) < 1_000:
                raise ValueError(f"{name} must be at least 1ms")
        self._check_secrets()
        return self

    def _check_secrets(self) -> None:
        from stream.http_post import HttpPost

        if self.url is not None:
            try:
                HttpPost(self.url.get_secret_value(), 1.0).close()
            except ConfigurationError as error:
                raise ValueError(str(error)) from None
        for name in ("routing_key", "authorization"):
            secret: SecretStr | None = getattr(self, name)
            if secret is not None and not re.fullmatch("[\x20-\x7e]+", secret.get_secret_value()):
                raise ValueError(f"{name} is empty or holds characters that cannot be sent, a line break perhaps")

    @property
    def matchers(self) -> Matchers:
        """Which alerts it gets."""
        return Matchers.parse(self.match)

    @property
    def address(self) -> str:
        """Where requests go, the secret parts of it included."""
        return PAGERDUTY if self.url is None else self.url.get_secret_value()


class RelaySettings(Section):
    """The relay: its targets, and how long after the death of a leading process another takes over."""

    targets: tuple[TargetSettings, ...] = ()
    takeover: Duration = 10_000_000

    @model_validator(mode="after")
    def _names_differ(self) -> RelaySettings:
        names = [target.name for target in self.targets]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"targets: the name {repeated[0]!r} stands twice; every target needs its own")
        if self.takeover < 1_000_000:
            raise ValueError("takeover must be at least 1s")
        return self
