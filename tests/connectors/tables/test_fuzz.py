"""Every reader on random bytes and on mutated valid files: nothing but an error of the family or rows and rejects
that add up.
"""

from __future__ import annotations

import csv
import io
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mingbai.connectors.tables.encodings import Utf8Blocks
from mingbai.kernel.errors import MingbaiError

if TYPE_CHECKING:
    from tests.connectors.tables.conftest import Read, ReadAll

pytestmark = pytest.mark.slow

TEXTS = ["您好，验证码是123456", "hello", "", '"quoted"', 'a "b", c', "two\nlines", "tab\there", "😀𠮷", "\\", "{}[]:"]
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "gb18030"]
SPECIAL = [
    b'"',
    b'""',
    b",",
    b"\t",
    b"\n",
    b"\r",
    b"\r\n",
    b"\0",
    b"\xff",
    b"\xfe\xff",
    b"\x81",
    b"\xe4",
    b"{",
    b"}",
    b"\\",
    b"\\u",
    b"\xd8",
]


def valid(format: str, rng: random.Random) -> str:
    rows = [
        (rng.choice(TEXTS), rng.choice(["", "10690001"]), rng.choice(["", "2024-05-01 08:00:00", "1714521600", "soon"]))
        for _ in range(rng.choice([0, 1, 5, 40]))
    ]
    if format == "csv":
        stream = io.StringIO()
        csv.writer(stream, lineterminator=rng.choice(["\n", "\r\n"])).writerows([("text", "sender", "time"), *rows])
        return stream.getvalue()
    if format == "tsv":
        lines = [
            "text\tsender\ttime",
            *("\t".join(cell.replace("\t", " ").replace("\n", " ") for cell in row) for row in rows),
        ]
    else:
        lines = [
            json.dumps(dict(zip(("text", "sender", "time"), row, strict=True)), ensure_ascii=rng.random() < 0.5)
            for row in rows
        ]
    return "".join(line + "\n" for line in lines)


def mutated(content: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.choice([0, 1, 2, 5, 20])):
        at = rng.randrange(len(content) + 1)
        change = rng.randrange(4)
        if change == 0:
            content = content[:at] + rng.choice(SPECIAL) + content[at:]
        elif change == 1:
            content = content[:at] + rng.randbytes(rng.randrange(1, 4)) + content[at + 1 :]
        elif change == 2:
            content = content[:at] + content[at + rng.randrange(1, 20) :]
        else:
            content = content[:at] + content[rng.randrange(len(content) + 1) :][:30] + content[at:]
    return content


def lines_that_are_not_empty(content: bytes) -> int:
    utf8 = b"".join(Utf8Blocks(io.BytesIO(content)))
    return sum(line not in (b"", b"\r") for line in utf8.split(b"\n"))


def read_both_ways(read: ReadAll, path: Path, rng: random.Random) -> Read | None:
    """Read with any blocks, which must give the same; None if it is no table."""
    block_bytes, batch_rows = rng.choice([1, 7, 100, 4096]), rng.choice([1, 5, 1000])
    try:
        whole = read(str(path), keep_columns=True)
    except MingbaiError:
        with pytest.raises(MingbaiError):
            read(str(path), keep_columns=True, block_bytes=block_bytes)
        return None
    parts = read(str(path), keep_columns=True, block_bytes=block_bytes, batch_rows=batch_rows)
    assert (parts.rows, parts.numbers, parts.kept, parts.rejects) == (
        whole.rows,
        whole.numbers,
        whole.kept,
        whole.rejects,
    )
    return whole


@pytest.mark.parametrize("format", ["csv", "tsv", "jsonl"])
def test_mutated_text_tables(
    format: str, read: ReadAll, tmp_path: Path, seed: int, loops: Callable[[int], int]
) -> None:
    path = tmp_path / f"a.{format}"
    tables = 0
    for round_ in range(loops(3000)):
        rng = random.Random(f"{seed} {format} {round_}")
        content = mutated(valid(format, rng).encode(rng.choice(ENCODINGS)), rng)
        path.write_bytes(content)
        found = read_both_ways(read, path, rng)
        if found is None:
            continue
        tables += 1
        if format == "csv":  # a field may hold line ends
            assert found.reader.rows <= max(0, lines_that_are_not_empty(content) - 1)
        else:
            header = 1 if format == "tsv" else 0
            assert found.reader.rows == max(0, lines_that_are_not_empty(content) - header)
    assert tables > 0


@pytest.mark.parametrize("format", ["csv", "tsv", "jsonl", "parquet"])
def test_random_bytes(format: str, read: ReadAll, tmp_path: Path, seed: int, loops: Callable[[int], int]) -> None:
    path = tmp_path / f"a.{format}"
    for round_ in range(loops(2000)):
        rng = random.Random(f"{seed} {format} {round_}")
        start = rng.choice(
            [b"", b"text\n", b"text,sender\n", b"PAR1", b'{"text":"x"}\n', b"\xff\xfe", b"t\0e\0x\0t\0\n\0"]
        )
        path.write_bytes(start + rng.randbytes(rng.choice([0, 1, 10, 100, 3000])))
        read_both_ways(read, path, rng)


def test_mutated_parquet(tmp_path: Path, seed: int, loops: Callable[[int], int]) -> None:
    program = Path(__file__).with_name("fuzz_parquet.py")
    command = [sys.executable, str(program), str(seed % 2**31), str(loops(3000)), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"seed {done.stdout.split()[-1:]}: exit {done.returncode}\n{done.stderr[-3000:]}"
