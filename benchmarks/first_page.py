"""How long from `mingbai serve` to its first page, beside what cannot be spared.

    python -m benchmarks first_page [--rounds 5]

*new*: an empty data directory, whose database is made meanwhile; *again*: the same directory afterwards. Timed is from
the start of the process to the last octet of the sign-in page. *floor*: a process that imports Django with the
project's own settings and does nothing else.
"""

from __future__ import annotations

import argparse
import http.client
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks._reviewers import Serve

_PATIENCE_S = 60.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    took: dict[str, list[float]] = {"new": [], "again": [], "floor": []}
    for _ in range(given.rounds):
        folder = Path(tempfile.mkdtemp(prefix="mingbai-first-"))
        try:
            took["new"].append(first_page(folder))
            took["again"].append(first_page(folder))
            took["floor"].append(imports(folder))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{'':8}{'median s':>10}{'worst s':>10}{'x floor':>10}")
    floor = statistics.median(took["floor"])
    for name, seconds in took.items():
        middle = statistics.median(seconds)
        print(f"{name:8}{middle:10.2f}{max(seconds):10.2f}{middle / floor:10.2f}")
    return 0


def first_page(data: Path) -> float:
    """Seconds. The server is ended afterwards."""
    server = Serve(data)
    began = time.monotonic()
    command = [sys.executable, "-m", "mingbai.cli", "serve", "--data", str(data)]
    command += ["--console", f"127.0.0.1:{server.port}"]
    process = subprocess.Popen(command, env=server.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not has_page(server.port):
            if time.monotonic() - began > _PATIENCE_S or process.poll() is not None:
                raise RuntimeError(f"no page after {time.monotonic() - began:.0f} s")
            time.sleep(0.01)
        return time.monotonic() - began
    finally:
        process.terminate()
        process.wait(60)


def has_page(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)
    try:
        connection.request("GET", "/accounts/login/")
        answer = connection.getresponse()
        return answer.status == 200 and b"password" in answer.read()
    except OSError:
        return False
    finally:
        connection.close()


def imports(data: Path) -> float:
    began = time.monotonic()
    environment = {**os.environ, "MINGBAI_DATA": str(data), "DJANGO_SETTINGS_MODULE": "mingbai.console.settings"}
    subprocess.run([sys.executable, "-c", "import django; django.setup()"], env=environment, check=True)
    return time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
