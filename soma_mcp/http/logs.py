"""The log of `soma serve` and `soma worker`: one line a record on stderr, for people or as JSON.

No memory text, query text, header or token is written. Access lines hold the path without its query. Errors of the
engine name the field that is wrong, not what a text holds. Libraries are kept to warnings at any level that is set,
since some write whole messages below that.
"""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from typing import Any

from soma_core.settings import Settings

OURS = ("embeddings", "soma_core", "soma_mcp", "workers", "uvicorn")
"""The loggers that the level is for."""

_PLAIN = re.compile(r"[\w.:/@%+~-]+", re.ASCII)


def fields(**values: object) -> dict[str, dict[str, object]]:
    """The `extra` of a log call: structured fields, of which those that are None are left out."""
    return {"fields": {name: value for name, value in values.items() if value is not None}}


def configure(settings: Settings) -> None:
    """Send everything that is logged in this process to stderr; uvicorn must be given ``log_config=None``."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else ConsoleFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))
    for name in (*OURS, "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(level if name in OURS else logging.NOTSET)
    logging.getLogger("uvicorn.access").propagate = False


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (ISO 8601, UTC), level, logger, message, the fields, and a traceback if any."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class ConsoleFormatter(logging.Formatter):
    """``time level logger message name=value ...``, and a traceback below."""

    def format(self, record: logging.LogRecord) -> str:
        named = "".join(f" {name}={_shown(value)}" for name, value in _fields(record).items())
        line = f"{_time(record)} {record.levelname:<7} {record.name} {record.getMessage()}{named}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return getattr(record, "fields", {})


def _shown(value: object) -> str:
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)
