"""Real servers for the tests: given by the environment, else started here, else embedded, else a reason to skip."""

from tests.services.service import Service, Unavailable

__all__ = ["Service", "Unavailable"]
