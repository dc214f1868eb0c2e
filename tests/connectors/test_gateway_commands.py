"""Orders to the gateway: each is read once and in sequence, over torn lines, restarts and rotation."""

from __future__ import annotations

import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mingbai.connectors import gateway_commands
from mingbai.connectors.gateway_commands import CommandFollower, append_command, commands_path
from mingbai.kernel.errors import BadValue

NOW = datetime(2026, 11, 25, 8, tzinfo=UTC)


def release(data: Path, seq: int, id: str | None = None) -> str:
    return append_command(data, "release", now=NOW, by="li", id=id, stream="gateway-1", seq=seq)


def seqs(found: list[dict[str, Any]]) -> list[int]:
    return [one["seq"] for one in found]


def test_an_order_is_read_as_it_was_written(tmp_path: Path) -> None:
    follower = CommandFollower(tmp_path, None)
    assert follower.poll() == []
    id = append_command(tmp_path, "bounce", now=NOW, by="li", kind="smsc", name="north")
    assert follower.poll() == [
        {"id": id, "at": "2026-11-25T08:00:00.000000Z", "by": "li", "op": "bounce", "kind": "smsc", "name": "north"}
    ]
    assert follower.poll() == []


def test_a_restarted_gateway_goes_on_after_what_it_did(tmp_path: Path) -> None:
    ids = [release(tmp_path, seq) for seq in range(1, 5)]
    assert seqs(CommandFollower(tmp_path, ids[1]).poll()) == [3, 4]
    assert seqs(CommandFollower(tmp_path, ids[3]).poll()) == []
    assert seqs(CommandFollower(tmp_path, "not there any more").poll()) == [1, 2, 3, 4]


def test_a_torn_line_is_waited_for_then_skipped(tmp_path: Path) -> None:
    release(tmp_path, 1)
    follower = CommandFollower(tmp_path, None)
    with commands_path(tmp_path).open("ab") as file:
        file.write(b'{"id":"torn","op":"rel')
    assert seqs(follower.poll()) == [1]
    release(tmp_path, 2)  # whoever writes next closes the line
    assert seqs(follower.poll()) == [2]
    assert seqs(CommandFollower(tmp_path, None).poll()) == [1, 2]


def test_rotation_loses_nothing_for_who_follows_and_who_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_commands, "ROTATE_AT", 1000)
    follower, slow = CommandFollower(tmp_path, None), CommandFollower(tmp_path, None)
    found, ids = [], []
    slow_found = seqs(slow.poll())
    for seq in range(1, 41):
        ids.append(release(tmp_path, seq))
        if seq == 1:
            slow_found += seqs(slow.poll())
        found += seqs(follower.poll())
        if commands_path(tmp_path).stat().st_size < 300 and seq > 1:
            slow_found += seqs(slow.poll())
    assert found == list(range(1, 41))
    assert slow_found + seqs(slow.poll()) == list(range(1, 41))
    back = seqs(CommandFollower(tmp_path, ids[33]).poll())
    assert back == list(range(35, 41))
    assert os.path.exists(f"{commands_path(tmp_path)}.1")


def test_an_order_that_may_have_been_written_before_is_not_written_twice(tmp_path: Path) -> None:
    release(tmp_path, 1, id="a-1")
    release(tmp_path, 2)
    assert release(tmp_path, 1, id="a-1") == "a-1"
    assert seqs(CommandFollower(tmp_path, None).poll()) == [1, 2]


def test_many_writers_tear_nothing(tmp_path: Path) -> None:
    threads = [
        threading.Thread(target=lambda start=start: [release(tmp_path, start + n) for n in range(1, 21)])
        for start in (0, 100, 200, 300)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = commands_path(tmp_path).read_text().splitlines()
    assert len({json.loads(line)["id"] for line in lines}) == 80
    assert commands_path(tmp_path).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("op", "fields", "field"),
    [
        ("stop", {}, "op"),
        ("release", {"stream": "gateway-1"}, "release"),
        ("release", {"stream": "gateway-1", "seq": 0}, "seq"),
        ("resend", {"ids": []}, "ids"),
        ("resend", {"ids": [1]}, "ids"),
        ("bounce", {"kind": "route", "name": "a"}, "kind"),
        ("bounce", {"kind": "smsc", "name": ""}, "name"),
    ],
)
def test_an_order_that_nobody_would_understand_is_refused(
    tmp_path: Path, op: str, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(BadValue) as refused:
        append_command(tmp_path, op, now=NOW, by="li", **fields)
    assert refused.value.data["field"] == field
    assert not commands_path(tmp_path).exists()
