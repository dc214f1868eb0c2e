"""Commits that share a sync: nobody returns before one that began after their commit has ended."""

from __future__ import annotations

import threading

import pytest

from mingbai.console.sqlite.shared_sync import SharedSync


def test_who_comes_during_a_sync_waits_for_the_next_one_which_serves_all() -> None:
    shared, began, may_end = SharedSync(), threading.Event(), threading.Event()
    syncs: list[int] = []

    def slow() -> None:
        syncs.append(0)
        began.set()
        assert may_end.wait(30)

    def quick() -> None:
        syncs.append(1)

    first = threading.Thread(target=shared.wait, args=(slow,))
    first.start()
    assert began.wait(30)
    others = [threading.Thread(target=shared.wait, args=(quick,)) for _ in range(5)]
    for other in others:
        other.start()
    while shared.waiting < 5:
        pass
    assert syncs == [0]
    may_end.set()
    for thread in (first, *others):
        thread.join(30)
        assert not thread.is_alive()
    assert syncs == [0, 1]


def test_a_sync_that_fails_tells_its_caller_and_covers_nobody() -> None:
    shared = SharedSync()

    def fails() -> None:
        raise OSError(5, "no disk")

    with pytest.raises(OSError, match="no disk"):
        shared.wait(fails)
    done: list[int] = []
    shared.wait(lambda: done.append(1))
    assert done == [1]
