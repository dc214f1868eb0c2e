"""A real screener for the tests of the API: one for all tests of a module, as starting it takes seconds.

The fixtures of the stories in a browser (`world`, `chromium`, `visit`) stand in browser.py.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from mingbai.connectors.screening_client import ScreeningClient
from tests.console.browser import chromium, visit, world
from tests.contexts.messaging.screener_process import running_screener

__all__ = ["chromium", "fresh_data", "screener", "visit", "world"]


@pytest.fixture(scope="module")
def fresh_data() -> Path:
    """The data directory of the console's settings, without what tests before have left there."""
    folder: Path = settings.MINGBAI.data
    for path in folder.iterdir():
        if path.name in ("ledger", "policies", "index", "anchors"):
            shutil.rmtree(path)
        elif path.name.startswith(("keys.json", "withheld")):
            path.unlink()
    return folder


@pytest.fixture(scope="module")
def screener(fresh_data: Path) -> Iterator[ScreeningClient]:
    with running_screener(fresh_data) as client:
        yield client
