"""Logs as one JSON object a line: {"time", "level", "event", …}."""

import json
import logging
import sys
import time
from typing import Any

LOG = logging.getLogger("inspire_vla.serving")


def log(event: str, level: int = logging.INFO, **fields: Any) -> None:
    """Log an event with its fields."""
    LOG.log(level, event, extra={"fields": fields})


class JsonLines(logging.Formatter):
    """Formats every record as a line of JSON, whatever it holds."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{record.msecs:03.0f}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def log_to_stderr(level: int = logging.INFO) -> None:
    """Write JSON lines to stderr: ours from `level`, the web-socket library's from WARNING."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    LOG.handlers[:] = [handler]
    LOG.setLevel(level)
    LOG.propagate = False
    theirs = logging.getLogger("websockets")
    theirs.handlers[:] = [handler]
    theirs.setLevel(logging.WARNING)
    theirs.propagate = False
