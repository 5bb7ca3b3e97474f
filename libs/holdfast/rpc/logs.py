"""Configures structlog for one process: JSON lines, or colours on a terminal. Never touches the root logger."""

from __future__ import annotations

import logging
import sys

import structlog

from holdfast.logstream import log_stream

__all__ = ["configure_logging"]


def configure_logging(process: str, *, level: str = "info", **context: str) -> None:
    """Binds `process` and `context` to every line this process logs.

    Workers and runs add `operation`, `attempt` and `worker` by structlog.contextvars.
    """
    terminal = sys.stderr.isatty()
    if sys.stderr is sys.__stderr__ and not terminal:
        sys.stderr = log_stream(2)
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer()
    )
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    if not terminal:
        processors.append(structlog.processors.dict_tracebacks)
    structlog.configure(
        processors=[*processors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        # Not cached: a logger that was used before this call must change as well.
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(process=process, **context)
