"""The import contracts of pyproject.toml catch what they are for: each breach is planted in a copy and must be seen."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent

BREACHES = [
    ("utils/__init__.py", "", "rooms"),  # a room without a place
    ("kernel/breach.py", "import numpy", "kernel: standard library only"),
    ("kernel/breach.py", "import mingbai.engines", "rooms"),
    ("engines/breach.py", "import mingbai.ledger", "rooms"),  # neighbours do not know each other
    ("ledger/breach.py", "import mingbai.engines", "rooms"),
    ("engines/breach.py", "import mingbai.settings", "rooms"),  # upward
    ("connectors/breach.py", "import django.db", "Django stays in the control plane"),
    ("protocols/breach.py", "import asyncio", "codecs are sans-IO"),
    ("contexts/cases/policy.py", "import django.db", "policy modules are pure"),
]


def contracts(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache", "--no-logo"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "src")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    package = tmp_path / "src" / "mingbai"
    shutil.copytree(ROOT / "src" / "mingbai", package, ignore=shutil.ignore_patterns("__pycache__", "data"))
    return tmp_path


@pytest.mark.parametrize(("module", "source", "contract"), BREACHES)
def test_a_planted_breach_is_caught(copy: Path, module: str, source: str, contract: str) -> None:
    planted = copy / "src" / "mingbai" / module
    planted.parent.mkdir(parents=True, exist_ok=True)
    for folder in planted.relative_to(copy / "src" / "mingbai").parents:
        (copy / "src" / "mingbai" / folder / "__init__.py").touch()
    planted.write_text(source + "\n")
    seen = contracts(copy)
    assert seen.returncode != 0, seen.stdout
    assert f"{contract}" in seen.stdout
    assert "BROKEN" in next(line for line in seen.stdout.splitlines() if line.startswith(contract))


def test_the_house_as_it_stands_keeps_every_contract(copy: Path) -> None:
    seen = contracts(copy)
    assert seen.returncode == 0, seen.stdout
    assert ", 0 broken" in seen.stdout
