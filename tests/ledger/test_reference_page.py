"""The verifier printed in docs/reference/ledger.md works as printed, and shares nothing with ours."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mingbai.ledger import ENTRY, KeyStore, Kind, Ledger, LedgerOptions, VaultClass, anchor_bytes
from mingbai.ledger.report import Fault

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from tests.ledger.conftest import Traffic

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "ledger.md"


@pytest.fixture
def verifier(tmp_path: Path) -> Path:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (program,) = (block for block in blocks if "def verify(" in block)
    assert "mingbai." not in program
    path = tmp_path / "verifier.py"
    path.write_text(program, encoding="utf-8")
    return path


def run(verifier: Path, *arguments: Path) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [sys.executable, "-I", verifier, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_printed_verifier_verifies(
    verifier: Path, data: Path, keys: KeyStore, now: datetime, traffic: Traffic, tmp_path: Path
) -> None:
    options = LedgerOptions(head_interval_s=2, background_sealing=False)
    anchors = tmp_path / "anchors.jsonl"
    with Ledger.open(data, stream="batch", keys=keys, now=now, options=options) as ledger:
        for second in range(12):
            last = ledger.record(traffic(5, second * 5), now=now + timedelta(seconds=second))
            if second in (3, 7):
                ledger.seal(now=now + timedelta(seconds=second))
        head = ledger.sign_head(now=now)
    anchors.write_bytes(anchor_bytes([head]))
    stream = data / "ledger" / "batch"
    done = run(verifier, stream, anchors)
    assert done.stdout == f"{last.last_seq + 1} rows in one chain\n", done.stderr
    for path in sorted((stream / "entries").iterdir()):
        clean = path.read_bytes()
        changed = bytearray(clean)
        changed[len(clean) // 2] ^= 1
        path.write_bytes(changed)
        assert run(verifier, stream, anchors).returncode != 0, path
        path.write_bytes(clean)
    anchors.write_bytes(anchors.read_bytes().replace(head.chain.hex().encode(), b"0" * 64))
    assert "cut off or rewritten" in run(verifier, stream, anchors).stderr


def test_the_page_names_every_column_kind_class_and_finding() -> None:
    page = PAGE.read_text(encoding="utf-8")
    missing = [
        word for word in (*ENTRY.names, *Kind, *(kind.label for kind in VaultClass), *Fault) if f"`{word}`" not in page
    ]
    assert missing == []
