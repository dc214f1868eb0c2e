"""A real screener on the data directory of the console's settings, for tests of what people decide."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from mingbai.connectors.screening_client import ScreeningClient
from mingbai.kernel.verdicts import Verdict

_PATIENCE_S = 300.0  # a first start compiles the engine


@contextmanager
def running_screener(data_dir: Path) -> Iterator[ScreeningClient]:
    """Started, ready, and gone at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mingbai.gateway.screener", "--data", str(data_dir)],
        env={**os.environ, "MINGBAI_DATA": str(data_dir)},
    )
    client = ScreeningClient(data_dir)
    try:
        client.wait_until_ready(_PATIENCE_S)
        yield client
    finally:
        client.close()
        process.terminate()
        process.wait(30)


def verdict_of(client: ScreeningClient, text: str) -> Verdict:
    """What the screener decides about one message; it is recorded."""
    found = client.screen(pa.record_batch({"text": [text]}))
    return Verdict(found.decisions.column("verdict")[0].as_py())


def until(claim: Callable[[], bool], what: str) -> float:
    """Wait until a claim holds; how many seconds it took. A claim that never does is a failure."""
    started = time.monotonic()
    while not claim():
        assert time.monotonic() - started < _PATIENCE_S, f"never: {what}"
        time.sleep(0.02)
    return time.monotonic() - started
