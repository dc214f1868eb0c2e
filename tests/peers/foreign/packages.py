"""Packages of npm that tests run as peers: installed once, at test time, outside the repository and the project's pins.

They land in `MINGBAI_PEERS`, or else in `peers` below the virtual environment, through npm and whatever registry the
user has configured. A file lock lets one process install while the others wait.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# Exact versions, those that a package brings along included.
NODE_SMPP = ("smpp@0.5.1", "iconv-lite@0.7.3", "safer-buffer@2.1.2")


def node_packages(name: str, pins: tuple[str, ...]) -> Path:
    """The folder `node_modules` that holds exactly these, for NODE_PATH. Raises CalledProcessError with npm's words."""
    root = Path(os.environ.get("MINGBAI_PEERS") or Path(sys.prefix) / "peers")
    root.mkdir(parents=True, exist_ok=True)
    home = root / "-".join([name, *(pin.rpartition("@")[2] for pin in pins)])
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not home.exists():
            npm = shutil.which("npm")
            assert npm is not None, "npm is missing: mark the test with needs('npm')"
            with tempfile.TemporaryDirectory(dir=root) as place:  # renamed when whole: what was interrupted is not seen
                made = Path(place) / "made"
                options = ["--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
                command = [npm, "install", "--prefix", str(made), *options, *pins]
                subprocess.run(command, check=True, timeout=300, stdout=subprocess.DEVNULL)
                made.rename(home)
    return home / "node_modules"
