"""The policy as files: published as a whole, followed at once, and never replaced by something damaged."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mingbai.connectors import policy_store
from mingbai.connectors.policy_follower import RETRY_S, PolicyFollower
from mingbai.connectors.policy_loading import load
from mingbai.connectors.policy_store import FreedMessage, ModelFile, PolicyUnusable, Snapshot, current, publish
from mingbai.connectors.rulebook_cache import RulebookCache
from mingbai.engines.screening.model import Model
from mingbai.kernel.errors import BadValue
from mingbai.ledger import FileOps

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(seconds=1)
MUCH_LATER = NOW + timedelta(seconds=RETRY_S + 1)
BY = "li.approver"
RULEBOOKS = RulebookCache()  # one for all tests: compiling takes seconds


def rulebook(word: str) -> str:
    return (
        f'[rulebook]\nname = "ours"\nversion = "1"\n[[rule]]\nid = "stop"\ncategory = "spam"\naction = "block"\n'
        f'owner = "li"\nreason = "test"\nkeywords = ["{word}"]\n'
    )


def freed(number: int = 1) -> FreedMessage:
    return FreedMessage(f"e{number}", f"{number:064x}", "li", NOW + timedelta(days=1))


@pytest.fixture(scope="module")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    """A model that differs from the shipped one, as `mingbai train` would write it."""
    shipped = Model.load()
    other = Model(
        shipped.chinese._replace(flag_at=shipped.chinese.flag_at / 2),
        shipped.english,
        shipped.alphabet_version,
        shipped.reading_version,
        {},
    )
    path = tmp_path_factory.mktemp("model") / "m.npz"
    other.save(path)
    return ModelFile(other.version, path.read_bytes())


def part(data: Path, snapshot: Snapshot, name: str) -> Path:
    found = getattr(snapshot, name)
    return policy_store.policies_dir(data) / str(found.name)


def follow(data: Path) -> PolicyFollower:
    return PolicyFollower(data, now=NOW, rulebooks=RULEBOOKS)


# ---- publishing


def test_without_a_publication_what_is_shipped_is_in_force(tmp_path: Path) -> None:
    assert current(tmp_path) is None
    source = load(tmp_path, None, now=NOW)
    assert source.rulebook is not None and source.rulebook.name == "mingbai-default"
    assert source.policy().model.version == Model.load().version
    assert policy_store.rulebook_text(tmp_path, None) == policy_store.shipped_rulebook_text()


def test_what_is_published_is_loaded_again(tmp_path: Path, candidate: ModelFile) -> None:
    written = publish(
        tmp_path, now=NOW, by=BY, rulebook=rulebook("惠民"), model=candidate, exceptions=[freed(2), freed(1)]
    )
    assert written == current(tmp_path)
    assert (written.version, written.published_at, written.published_by) == (1, NOW, BY)
    source = load(tmp_path, written)
    assert source.rulebook is not None and source.rulebook.rules[0].keywords == ("惠民",)
    assert source.model is not None and source.model.version == candidate.version
    assert source.exceptions.items == (freed(1), freed(2)) and source.at == NOW
    assert policy_store.rulebook_text(tmp_path, written) == rulebook("惠民")
    assert written.rulebook is not None and written.rulebook.version == policy_store.rulebook_version(rulebook("惠民"))


def test_each_part_changes_by_itself_and_goes_back_to_what_is_shipped(tmp_path: Path, candidate: ModelFile) -> None:
    first = publish(tmp_path, now=NOW, by=BY, rulebook=rulebook("a"), exceptions=[freed()])
    second = publish(tmp_path, now=NOW, by=BY, shadow_model=candidate)
    assert second.version == 2 and (second.rulebook, second.exceptions) == (first.rulebook, first.exceptions)
    third = publish(tmp_path, now=NOW, by=BY, model=candidate.version, shadow_model=None)
    assert third.model == second.shadow_model and third.shadow_model is None
    fourth = publish(tmp_path, now=NOW, by=BY, rulebook=None, model=None, exceptions=[])
    assert fourth.version == 4
    assert (fourth.rulebook, fourth.model, fourth.shadow_model, fourth.exceptions) == (None, None, None, None)


def test_saying_it_again_makes_no_new_version_and_mends_a_damaged_file(tmp_path: Path) -> None:
    first = publish(tmp_path, now=NOW, by=BY, rulebook=rulebook("a"))
    part(tmp_path, first, "rulebook").write_text("damaged")
    assert publish(tmp_path, now=LATER, by="somebody", rulebook=rulebook("a")) == first
    assert policy_store.rulebook_text(tmp_path, first) == rulebook("a")


def test_publications_of_many_threads_come_one_after_the_other(tmp_path: Path) -> None:
    found: list[int] = []

    def one(number: int) -> None:
        found.append(publish(tmp_path, now=NOW, by=BY, rulebook=rulebook(f"w{number}")).version)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(1, 9))
    written = current(tmp_path)
    assert written is not None and written.version == 8


def test_of_two_who_free_at_once_the_later_one_knows_of_the_other(tmp_path: Path) -> None:
    rows = [freed(1)]
    reading, going_on = threading.Event(), threading.Event()

    def slowly() -> list[FreedMessage]:
        reading.set()
        assert going_on.wait(60)
        return list(rows)

    first = threading.Thread(target=lambda: publish(tmp_path, now=NOW, by=BY, exceptions=slowly))
    first.start()
    assert reading.wait(60)
    rows.append(freed(2))  # another process commits its row, and publishes
    second = threading.Thread(target=lambda: publish(tmp_path, now=NOW, by=BY, exceptions=lambda: list(rows)))
    second.start()
    going_on.set()
    first.join()
    second.join()
    assert policy_store.freed_messages(tmp_path, current(tmp_path)) == (freed(1), freed(2))


class Broken(FileOps):
    """A disk that fails at the n-th operation."""

    def __init__(self, at: int) -> None:
        self.left = at

    def _step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write_at(self, fd: int, offset: int, chunks: Sequence[bytes | bytearray | memoryview]) -> None:
        self._step()
        super().write_at(fd, offset, chunks)

    def sync(self, fd: int) -> None:
        self._step()
        super().sync(fd)

    def rename(self, old: Path, new: Path) -> None:
        self._step()
        super().rename(old, new)


def test_a_publication_that_fails_anywhere_leaves_the_policy_in_force(tmp_path: Path) -> None:
    before = publish(tmp_path, now=NOW, by=BY, rulebook=rulebook("a"))
    for at in range(6):  # write, sync and rename of the rulebook and of current.json
        with pytest.raises(OSError, match="No space"):
            publish(tmp_path, now=NOW, by=BY, rulebook=rulebook(f"b{at}"), ops=Broken(at))
        assert current(tmp_path) == before
        assert policy_store.rulebook_text(tmp_path, before) == rulebook("a")
    assert publish(tmp_path, now=NOW, by=BY, rulebook=rulebook("b"), ops=Broken(6)).version == 2


@pytest.mark.parametrize(
    ("exception", "field"),
    [
        (FreedMessage("", "0" * 64, "li", NOW), "exception id"),
        (FreedMessage("a:b", "0" * 64, "li", NOW), "exception id"),
        (FreedMessage("e", "0" * 63, "li", NOW), "exception key"),
        (FreedMessage("e", "G" * 64, "li", NOW), "exception key"),
        (FreedMessage("e", "0" * 64, "li", NOW.replace(tzinfo=None)), "time"),
    ],
)
def test_a_wrong_exception_is_refused_and_named(tmp_path: Path, exception: FreedMessage, field: str) -> None:
    with pytest.raises(BadValue) as refused:
        publish(tmp_path, now=NOW, by=BY, exceptions=[exception])
    assert refused.value.data["field"] == field and current(tmp_path) is None


def test_a_model_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyUnusable, match="model-0123456789ab"):
        publish(tmp_path, now=NOW, by=BY, model="0123456789ab")
    with pytest.raises(BadValue, match="model version"):
        publish(tmp_path, now=NOW, by=BY, model="../../etc/pass")


def test_publishing_loads_no_compiled_code() -> None:
    program = (
        "import sys; import mingbai.connectors.policy_store, mingbai.connectors.screening_client\n"
        "sys.exit(any(name in sys.modules for name in ('numba', 'hyperscan')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# ---- damage


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[1]",
        b"\xff",
        b'{"format": 2}',
        b"[" * 100_000,
        json.dumps(
            {
                "format": 1,
                "version": 1,
                "rulebook": {"name": "../../../etc/passwd", "sha256": "", "version": ""},
                "model": None,
                "shadow_model": None,
                "exceptions": None,
                "published_at": "2026-01-01T00:00:00Z",
                "published_by": "x",
            }
        ).encode(),
    ],
)
def test_a_damaged_current_file_is_named(tmp_path: Path, content: bytes) -> None:
    policy_store.policies_dir(tmp_path).mkdir()
    (policy_store.policies_dir(tmp_path) / "current.json").write_bytes(content)
    with pytest.raises(PolicyUnusable, match=r"current\.json"):
        current(tmp_path)


def test_a_start_with_a_damaged_current_file_takes_what_is_shipped(tmp_path: Path) -> None:
    policy_store.policies_dir(tmp_path).mkdir()
    (policy_store.policies_dir(tmp_path) / "current.json").write_bytes(b"{}")
    follower = follow(tmp_path)  # it must not fail: what is shipped protects people meanwhile
    assert follower.problem is not None and "current.json" in follower.problem
    assert follower.in_force.version == 0 and follower.in_force.policy.rules.rulebook.name == "mingbai-default"


@pytest.mark.parametrize("name", ["rulebook", "model", "exceptions"])
@pytest.mark.parametrize("how", ["missing", "changed"])
def test_a_damaged_part_leaves_the_old_policy_in_force(
    tmp_path: Path, candidate: ModelFile, name: str, how: str
) -> None:
    publish(tmp_path, now=NOW, by=BY, rulebook=rulebook("old"))
    follower = follow(tmp_path)
    new = publish(tmp_path, now=NOW, by=BY, rulebook=rulebook("new"), model=candidate, exceptions=[freed()])
    damaged = part(tmp_path, new, name)
    whole = damaged.read_bytes()
    if how == "missing":
        damaged.unlink()
    else:
        damaged.write_bytes(whole[:-1] + b"#")
    assert not follower.poll(LATER)
    assert follower.in_force.version == 1 and follower.problem is not None and damaged.name in follower.problem
    at_a_start = follow(tmp_path)  # there is no old one: the parts that are whole count
    usable = at_a_start.in_force.snapshot
    assert usable is not None and at_a_start.problem is not None
    for other in ("rulebook", "model", "exceptions"):
        assert getattr(usable, other) == (None if other == name else getattr(new, other))

    damaged.write_bytes(whole)
    assert not follower.poll(LATER + timedelta(seconds=1))  # it is not tried with every look
    for mended in (follower, at_a_start):
        assert mended.poll(MUCH_LATER)
        assert mended.problem is None and mended.in_force.snapshot == new


def test_a_rulebook_that_does_not_compile_leaves_the_old_one(tmp_path: Path) -> None:
    publish(tmp_path, now=NOW, by=BY, rulebook=rulebook("old"))
    follower = follow(tmp_path)
    publish(tmp_path, now=NOW, by=BY, rulebook=rulebook("new").replace("spam", "opinion"))
    assert not follower.poll(LATER)
    assert follower.problem is not None and "opinion" in follower.problem
    publish(tmp_path, now=NOW, by=BY, rulebook=rulebook("new"))
    assert follower.poll(LATER) and follower.in_force.version == 3
    assert follow(tmp_path).problem is None


def test_a_publication_that_vanishes_leaves_the_policy_in_force(tmp_path: Path) -> None:
    publish(tmp_path, now=NOW, by=BY, rulebook=rulebook("old"))
    follower = follow(tmp_path)
    (policy_store.policies_dir(tmp_path) / "current.json").unlink()
    assert not follower.poll(LATER)
    assert follower.in_force.version == 1 and follower.problem is not None


# ---- following


def test_a_follower_takes_each_publication_and_compiles_only_what_changed(tmp_path: Path, candidate: ModelFile) -> None:
    follower = follow(tmp_path)
    assert follower.in_force.version == 0 and not follower.poll(LATER)
    publish(tmp_path, now=NOW, by=BY, rulebook=rulebook("a"))
    assert follower.poll(LATER) and follower.in_force.since == LATER
    with_rules = follower.in_force.policy
    publish(tmp_path, now=NOW, by=BY, exceptions=[freed()], shadow_model=candidate)
    assert follower.poll(LATER) and follower.in_force.version == 2
    with_exception = follower.in_force.policy
    assert with_exception.exceptions.items == (freed(),)
    assert with_exception.rules is with_rules.rules and with_exception.model is with_rules.model
    assert follower.in_force.shadow is not None
    assert follower.in_force.shadow.model.version == candidate.version
    assert follower.in_force.shadow.exceptions.items == (freed(),)
