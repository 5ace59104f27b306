"""Errors by whose fault they are: the settings', the input's, a service's; anything else is ours."""

from __future__ import annotations


class TidecastError(Exception):
    """Base of all errors that Tidecast raises on purpose."""


class ConfigurationError(TidecastError):
    """A setting is wrong or settings do not fit together: nothing helps but changing them."""


class InputError(TidecastError):
    """A value that came from outside cannot be used: the fault is in what was sent, not in the settings."""


class ServiceError(TidecastError):
    """Kafka or Redis failed or refused: trying again later may help."""
