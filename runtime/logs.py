"""Log lines: JSON on stdout, or coloured on a terminal. One line per event, one event per batch, never personal data.

Callers keep B1: they log ids, counts and codes. As a second fence, exceptions are logged by type and place and without
their text, because a library's error may quote the record that it failed on.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, get_args

import structlog

from runtime.service_settings import LogFormat


def form_named(text: str | None) -> LogFormat:
    """The log format of a raw setting. It is needed before the settings are read, to log their mistakes."""
    return next((form for form in get_args(LogFormat) if form == (text or "").lower()), "auto")


def configure_logs(*, service: str, level: str = "info", form: LogFormat = "auto") -> None:
    """Set up structlog and route the standard library's loggers (Faust, aiokafka, azure) through it."""
    console = form == "console" or (form == "auto" and sys.stdout.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _named_service(service),
        _exception_without_arguments,
    ]
    renderer = structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for chatty in ("azure", "httpx", "aiokafka", "faust", "mode"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    logging.getLogger(service).setLevel(level.upper())


def _named_service(service: str) -> Any:
    def add(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {"service": service, **event}

    return add


def _exception_without_arguments(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Replaces an exception by its type and places: its text may hold a record's contents (B1)."""
    info = event.pop("exc_info", None)
    if not info:
        return event
    error = info[1] if isinstance(info, tuple) else info if isinstance(info, BaseException) else sys.exc_info()[1]
    if error is not None:
        event["error"] = type(error).__name__
        event["at"] = _places(error)
    return event


def _places(error: BaseException) -> list[str]:
    places, step = [], error.__traceback__
    while step is not None:
        places.append(f"{step.tb_frame.f_globals.get('__name__', '?')}:{step.tb_lineno}")
        step = step.tb_next
    return places[-6:]
