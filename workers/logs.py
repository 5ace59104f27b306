"""Logs: key=value on a terminal, JSON lines otherwise or with TIDECAST_LOG=json. Never payloads, never secrets."""

from __future__ import annotations

import logging
import os
import sys

import structlog


def set_up(level: str = "info") -> None:
    """Configure structlog and quieten the client libraries to warnings."""
    style = os.environ.get("TIDECAST_LOG") or ("text" if sys.stderr.isatty() else "json")
    renderer = structlog.dev.ConsoleRenderer() if style == "text" else structlog.processors.JSONRenderer()
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
