"""Anchors on their way out of the house: signed heads go to every target that is set, and none is lost on the way.

A head is first written into a small state file, with the targets that it has still to go to, and only then sent. A
target that does not take it gets it with the next export, together with what came since; a crash between sending and
noting sends it twice, never not at all. The state lies in `<data>/anchors/` beside the ledger's streams:

    state.json   format 1; `signed_at`; `taken`: target -> stream -> the last head it has taken;
                 `waiting`: heads, oldest first, each with the targets that have not taken it
    lock         empty; flock()ed by the one export that runs

It holds no secret. A target that is no longer set keeps what waits for it until it is set again.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from mingbai.connectors.anchor_targets import AnchorNotTaken, AnchorTarget, targets_of
from mingbai.connectors.ledger_access import open_ledger
from mingbai.kernel.clock import format_utc, parse_utc
from mingbai.kernel.errors import BadValue, MingbaiError
from mingbai.ledger import FileOps, Head, Kind, Ledger, LedgerError
from mingbai.ledger.files import FILE_MODE, make_dirs, write_new
from mingbai.settings import Settings

log = logging.getLogger(__name__)


class AnchorStateUnusable(MingbaiError):
    """The state of exports cannot be read or written. It is never overwritten blindly: what waits would be lost."""

    code = "anchor_state_unusable"
    template = "{path}: the state of anchor exports cannot be used: {cause}"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one target in one export."""

    target: str
    kind: str
    taken: tuple[Head, ...]
    waiting: int  # anchors that it has still not taken
    error: AnchorNotTaken | None


@dataclass(frozen=True, slots=True)
class Exported:
    """One export: what each target did, and the streams that could not be signed."""

    deliveries: list[Delivery]
    unsigned: dict[str, LedgerError] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.unsigned and all(delivery.error is None for delivery in self.deliveries)


def is_export_due(settings: Settings, *, now: datetime) -> bool:
    """Whether a target is set, and the interval has passed or something waits from a failure.

    Raises AnchorStateUnusable.
    """
    keys = {target.key for target in targets_of(settings.anchors)}
    if not keys:
        return False
    state = _State.read(_state_path(settings))
    if state.signed_at is None or any(keys & set(item.targets) for item in state.waiting):
        return True
    return abs((now - state.signed_at).total_seconds()) >= settings.anchors.interval_s


def export_heads(settings: Settings, heads: Sequence[Head], *, now: datetime) -> list[Delivery]:
    """Send these heads, and what waits from before, to every target that is set; one result a target.

    What a target did not take is kept. Waits for an export that another process makes. Raises AnchorStateUnusable.
    """
    path = _state_path(settings)
    deliveries = []
    with _only_export(path):
        state = _State.read(path)
        targets = targets_of(settings.anchors)
        if heads:
            state.signed_at = now
            state.waiting += [_Waiting(head, [target.key for target in targets]) for head in heads]
            state.write(path)
        for target in targets:
            deliveries.append(_deliver(target, state, now=now))
            state.write(path)
    return deliveries


def _deliver(target: AnchorTarget, state: _State, *, now: datetime) -> Delivery:
    """Send one target what waits for it, and note what it took."""
    due = [item.head for item in state.waiting if target.key in item.targets]
    taken: list[Head] = []
    error: AnchorNotTaken | None = None
    try:
        if due:
            for head in target.send(due, now=now):  # one by one: what went before a failure, went
                taken.append(head)
    except AnchorNotTaken as failure:
        error = failure
    state.note(target.key, taken)
    return Delivery(target.name, target.kind, tuple(taken), len(due) - len(taken), error)


def sign_and_export(settings: Settings, streams: Sequence[str], *, clock: Callable[[], datetime]) -> Exported:
    """Sign the head of each stream, export all of them, and note in each stream what went where.

    A stream that another process writes is left out (and named); anchors that wait go all the same. Streams are not
    held while the network is busy. Raises AnchorStateUnusable.
    """
    heads, unsigned = [], {}
    for name in streams:
        try:
            with open_ledger(settings, now=clock(), stream=name) as ledger:
                heads.append(ledger.sign_head(now=clock()))
        except LedgerError as error:
            unsigned[name] = error
    deliveries = export_heads(settings, heads, now=clock())
    for name in sorted({head.stream for delivery in deliveries for head in delivery.taken}):
        try:
            with open_ledger(settings, now=clock(), stream=name) as ledger:
                note_in_ledger(ledger, deliveries, now=clock())
        except LedgerError:  # the targets have the anchors; only the chain does not say so
            log.warning("the ledger could not note that its anchor was exported", extra={"stream": name})
    return Exported(deliveries, unsigned)


def note_in_ledger(ledger: Ledger, deliveries: Sequence[Delivery], *, now: datetime) -> None:
    """One entry `head.exported` a target that took heads of this stream, naming the last of them.

    Raises LedgerCannotWrite. No address goes into it: a mailbox may be a person's.
    """
    for delivery in deliveries:
        heads = [head for head in delivery.taken if head.stream == ledger.stream]
        if heads:
            data = {"to": delivery.kind, "seq": heads[-1].seq, "head": heads[-1].sha256.hex()}
            ledger.record_event(Kind.HEAD_EXPORTED, data, now=now)


# -- state -------------------------------------------------------------------------------------------------------------


def _state_path(settings: Settings) -> Path:
    return settings.data / "anchors" / "state.json"


@contextmanager
def _only_export(path: Path) -> Iterator[None]:
    """Wait for, and hold, the lock of exports. The other's wait is bounded by its targets' timeouts."""
    try:
        make_dirs(FileOps(), path.parent)
        descriptor = os.open(path.with_name("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
    except OSError as error:
        raise AnchorStateUnusable(path=str(path), cause=error.strerror or str(error)) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@dataclass(slots=True)
class _Waiting:
    head: Head
    targets: list[str]  # keys of targets that have not taken it


@dataclass(slots=True)
class _State:
    signed_at: datetime | None = None
    taken: dict[str, dict[str, dict[str, object]]] = field(default_factory=dict)
    waiting: list[_Waiting] = field(default_factory=list)

    def note(self, key: str, heads: Sequence[Head]) -> None:
        """The target `key` has taken these heads."""
        done = {head.sha256 for head in heads}
        for item in self.waiting:
            if item.head.sha256 in done and key in item.targets:
                item.targets.remove(key)
        self.waiting = [item for item in self.waiting if item.targets]
        for head in heads:
            last = {"seq": head.seq, "head": head.sha256.hex(), "at": format_utc(head.at)}
            self.taken.setdefault(key, {})[head.stream] = last

    @classmethod
    def read(cls, path: Path) -> _State:
        """The state as it stands; empty before the first export. Raises AnchorStateUnusable."""
        try:
            document = json.loads(path.read_bytes())
            if document["format"] != 1:
                raise ValueError("not of format 1")
            waiting = [
                _Waiting(Head.from_document(item["head"]), [str(key) for key in item["targets"]])
                for item in document["waiting"]
            ]
            signed_at = document["signed_at"]
            return cls(
                None if signed_at is None else parse_utc(signed_at, "signed_at"),
                {str(key): dict(streams) for key, streams in document["taken"].items()},
                waiting,
            )
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, BadValue) as error:
            raise AnchorStateUnusable(path=str(path), cause=f"{type(error).__name__}: {error}") from error

    def write(self, path: Path) -> None:
        document = {
            "format": 1,
            "signed_at": None if self.signed_at is None else format_utc(self.signed_at),
            "taken": self.taken,
            "waiting": [{"head": item.head.to_document(), "targets": item.targets} for item in self.waiting],
        }
        try:
            write_new(FileOps(), path, [json.dumps(document, indent=1).encode()])
        except OSError as error:
            raise AnchorStateUnusable(path=str(path), cause=error.strerror or str(error)) from error
