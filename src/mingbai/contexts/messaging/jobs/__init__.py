"""What is done about messages without anybody asking: (name, seconds between turns, function, is it long)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from importlib import import_module
from importlib.util import find_spec

from mingbai.settings import Settings

JOBS: list[tuple[str, float, Callable[[Settings, datetime], None], bool]] = []
for area in ("traffic", "review", "rulebook", "model", "gateway"):
    if find_spec(f"{__name__}.{area}"):
        JOBS += import_module(f"{__name__}.{area}").JOBS
