"""How log lines look: a constant message, then its data as `name=value`."""

from __future__ import annotations

import logging
from typing import Any

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "request", "status_code"}


class FieldFormatter(logging.Formatter):
    """`2026-11-25 08:30:00,123 ERROR mingbai.server: a part ended part=web code=-9`."""

    def __init__(self, *_args: Any, **_more: Any) -> None:  # Any: what logging.config hands over
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        fields = {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
        told = "".join(f" {name}={value!r}" for name, value in sorted(fields.items()))
        return super().formatMessage(record) + told


def log_to_stderr(level: int = logging.WARNING) -> None:
    """For a process of its own."""
    handler = logging.StreamHandler()
    handler.setFormatter(FieldFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
