"""What a web process does before anybody asks, so that the first who does waits no longer than the next.

The first look into the ledger opens every block of its index, the first page of a kind compiles its templates, and the
first batch of Arrow loads what that needs: half a second with a small ledger, several with a hundred million decisions.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.db import connection
from django.template.loader import get_template

from mingbai.contexts.messaging.queries.read_ahead import warm_desk
from mingbai.contexts.messaging.queries.traffic import warm_index
from mingbai.kernel.clock import utc_now

log = logging.getLogger(__name__)

_AFTER_S = 1.0  # whoever started the console opens its first page now
_OVERVIEW = timedelta(days=30)


def warm_soon() -> threading.Thread:
    """Begin in a thread of its own; pages are answered meanwhile."""
    thread = threading.Thread(target=_warm, name="warm", daemon=True)
    thread.start()
    return thread


def _warm() -> None:
    time.sleep(_AFTER_S)
    now = utc_now()
    for name in templates():
        get_template(name)
    try:
        warm_index(now - _OVERVIEW, now)
        warm_desk()
    except Exception as error:  # the page that needs it says what is wrong
        log.warning("nothing was made ready: %s", type(error).__name__)
    connection.close()
    keep_out_of_collections()


def keep_out_of_collections() -> None:
    """A full collection walks everything that was loaded and holds Python's lock meanwhile: 0.1 s in which no thread
    answers. What is there now stays for good, so it is left out; of what comes, little lives long."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 50)


def templates() -> Iterator[str]:
    """Names of the project's own."""
    folders = [Path(settings.CONSOLE_TEMPLATES)]
    folders += [Path(app.path) / "templates" for app in apps.get_app_configs() if app.name.startswith("mingbai.")]
    for folder in folders:
        for path in sorted(folder.rglob("*.html")):
            yield path.relative_to(folder).as_posix()
