"""Memory does not grow with the input. Each case is a process of its own, so that what is measured is its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

# Of this, about 190 MiB is what Python with pyarrow and numba takes before it reads anything.
LIMIT_MIB = 300

PROGRAM = """
import sys
import numpy as np
import pyarrow as pa
from mingbai.connectors.tables import open_output, read_messages

def refuse(reject):
    raise AssertionError(reject)

reader = read_messages([sys.argv[1]], on_reject=refuse, keep_columns=len(sys.argv) > 2)
output = open_output(sys.argv[2], reader.kept_schema) if len(sys.argv) > 2 else None
for batch in reader:
    if output is not None:
        n = len(batch.rows)
        output.write(batch.rows, pa.record_batch({
            "verdict": pa.array(np.zeros(n, np.uint8)), "category": pa.array(np.zeros(n, np.uint8)),
            "score": pa.array(np.zeros(n, np.float32)), "reasons": pa.array([[1]] * n, pa.list_(pa.uint16())),
            "campaign": pa.array(np.arange(n).astype(np.uint64)),
        }), batch.kept)
if output is not None:
    output.close()
# Not ru_maxrss, which begins with the size of the process that started this one.
[peak] = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(reader.accepted, int(peak) // 1024)
"""


def rows_and_mib(*arguments: str) -> tuple[int, int]:
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True)
    rows, mib = done.stdout.split()
    return int(rows), int(mib)


@pytest.mark.slow
def test_ten_million_rows_of_one_row_group_stream_from_parquet(tmp_path: Path) -> None:
    texts = pa.array([f"您好，您的验证码是{number * 7919 % 1_000_000:06d}，请勿告诉他人" for number in range(100_000)])
    table = pa.table({"text": pa.chunked_array([texts] * 100)})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=10_000_000, use_dictionary=False, compression="none")
    del table
    rows, mib = rows_and_mib(str(tmp_path / "a.parquet"))
    assert rows == 10_000_000
    assert mib < LIMIT_MIB


@pytest.mark.slow
@pytest.mark.parametrize("format", ["csv", "tsv", "jsonl"])
def test_text_tables_stream(tmp_path: Path, format: str) -> None:
    line = (
        '{"text":"您好，您的验证码是123456，请勿告诉他人"}'
        if format == "jsonl"
        else "您好，您的验证码是123456，请勿告诉他人"
    )
    path = tmp_path / f"a.{format}"
    with path.open("w", encoding="utf-8") as stream:
        stream.write("" if format == "jsonl" else "text\n")
        for _ in range(100):
            stream.write((line + "\n") * 30_000)
    rows, mib = rows_and_mib(str(path))
    assert rows == 3_000_000
    assert mib < LIMIT_MIB


@pytest.mark.slow
@pytest.mark.parametrize("output", ["out.csv", "out.jsonl", "out.parquet"])
def test_outputs_stream(tmp_path: Path, output: str) -> None:
    texts = [f"您好，您的验证码是{number * 7919 % 1_000_000:06d}，请勿告诉他人" for number in range(100_000)]
    pq.write_table(pa.table({"text": pa.chunked_array([texts] * 20)}), tmp_path / "a.parquet")
    rows, mib = rows_and_mib(str(tmp_path / "a.parquet"), str(tmp_path / output))
    assert rows == 2_000_000
    assert mib < LIMIT_MIB + 100  # and two row groups of Parquet
