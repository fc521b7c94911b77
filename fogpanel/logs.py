"""One format for the logs of every process: structlog, to standard error."""

from __future__ import annotations

import logging
import logging.config
import sys

import structlog
from structlog.typing import Processor

from fogpanel import env


class WithoutBlame(logging.Filter):
    """Leaves a line, and no traceback, of a request that the client got wrong: Django logs both."""

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(record, "status_code", 500) < 500:
            record.exc_info = record.exc_text = None
        return True


def configure() -> None:
    """Send the standard library's logging and structlog's through the same renderer.

    Lines are for people on a terminal and JSON elsewhere; FOGPANEL_LOG_FORMAT=json|text decides.
    """
    as_json = env.text("FOGPANEL_LOG_FORMAT", "text") == "json"
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso" if as_json else "%H:%M:%S", utc=as_json),
    ]
    renderer = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0)
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "line": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "foreign_pre_chain": shared,
                    "processors": [
                        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                        structlog.processors.format_exc_info,
                        renderer,
                    ],
                }
            },
            "filters": {"without_blame": {"()": WithoutBlame}},
            "handlers": {
                "stderr": {
                    "class": "logging.StreamHandler",
                    "formatter": "line",
                    "filters": ["without_blame"],
                }
            },
            "root": {"handlers": ["stderr"], "level": env.text("FOGPANEL_LOG_LEVEL", "INFO").upper()},
            "loggers": {
                "daphne": {"level": "WARNING"},
                "django.channels.server": {"level": "WARNING"},
                "celery.app.trace": {"level": "WARNING"},
                "celery.worker.strategy": {"level": "WARNING"},
                "celery.beat": {"level": "WARNING"},
                "django_celery_beat": {"level": "WARNING"},
                "axes": {"level": "WARNING"},
            },
        }
    )
