"""Read mutated Parquet files, as a program of its own: `fuzz_parquet.py SEED ROUNDS FOLDER`.

A process of its own, because what a broken file breaks is native code: a crash then ends this process, and its exit
code and the seed that it printed last are the finding. The test that runs it is in `test_fuzz.py`.
"""

from __future__ import annotations

import io
import random
import resource
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mingbai.connectors.tables import Reject, read_messages
from mingbai.connectors.tables.values import as_json, as_strings
from mingbai.kernel.errors import MingbaiError

# A length in a broken page may ask for gigabytes before it is found to be wrong.
MEMORY_BYTES = 8 << 30


def valid(rng: random.Random) -> bytes:
    rows = rng.choice([1, 30, 300])
    texts = [rng.choice(["您好", "hello", "", None, "x" * 300]) for _ in range(rows)]
    kind = rng.choice([pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int32(), pa.string())])
    table = pa.table(
        {
            "text": pa.array(texts, kind),
            "sender": pa.array([rng.choice([1, 13800000000, None]) for _ in range(rows)], pa.int64()),
            "time": pa.array([rng.randrange(2**50) for _ in range(rows)], pa.timestamp("us")),
            "nested": pa.array([rng.choice([None, {"a": [1.5, None], "b": "é"}]) for _ in range(rows)]),
        }
    )
    stream = io.BytesIO()
    pq.write_table(
        table,
        stream,
        row_group_size=rng.choice([7, 100, 1000]),
        compression=rng.choice(["none", "snappy", "zstd", "gzip"]),
        use_dictionary=rng.random() < 0.5,
        data_page_version=rng.choice(["1.0", "2.0"]),
        data_page_size=rng.choice([100, 1 << 20]),
        write_page_checksum=rng.random() < 0.2,
    )
    return stream.getvalue()


def mutated(content: bytes, rng: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        # Half of the changes hit the footer, which is what the reader trusts.
        footer = int.from_bytes(data[-8:-4], "little") if len(data) > 12 else 0
        first = max(0, len(data) - 8 - footer) if rng.random() < 0.5 else 0
        at = rng.randrange(first, len(data))
        change = rng.randrange(4)
        if change == 0:
            data[at] = rng.randrange(256)
        elif change == 1:
            data[at] ^= 1 << rng.randrange(8)
        elif change == 2:
            del data[at : at + rng.randrange(50)]
        else:
            data[at:at] = rng.randbytes(rng.randrange(20))
        if not data:
            break
    return bytes(data)


def main() -> None:
    first, rounds, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    path = folder / "fuzz.parquet"
    unreadable = 0
    for seed in range(first, first + rounds):
        print(seed, flush=True)  # noqa: T201 the program's output
        rng = random.Random(seed)
        path.write_bytes(mutated(valid(rng), rng))
        rejects: list[Reject] = []
        try:
            reader = read_messages([path], on_reject=rejects.append, keep_columns=True)
        except MingbaiError:
            unreadable += 1
            continue
        rows = 0
        for batch in reader:
            rows += batch.batch.num_rows
            assert batch.kept is not None
            for values in batch.kept.columns:
                as_strings(values)
                as_json(values)
        assert rows == reader.accepted
        assert reader.rows == rows + sum(reject.rows for reject in rejects)
    assert unreadable < rounds  # the mutations are mild enough to reach the rows


if __name__ == "__main__":
    main()
