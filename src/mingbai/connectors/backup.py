"""A copy of everything that a data directory holds, made while it is in use, in one file; and the way back.

The file is a plain tar: `database/…`, `ledger/…`, `policies/…`, keys (unless left out), and last `manifest.json` with
the SHA-256 of each file. A backup without a manifest is one that did not end. The database is copied before the ledger,
so that the ledger is never behind what the database knows of it; of an open segment, whole commits are copied and the
rest is left out, as a start after a power cut would do. What can be computed again (the index) is not in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from mingbai import __version__
from mingbai.kernel.clock import format_utc
from mingbai.kernel.errors import MingbaiError
from mingbai.ledger.segments import OpenCommit, scan_open

FORMAT = "mingbai backup 1"
MANIFEST = "manifest.json"
KEY_FILES = ("keys.json", "console.key")
_TRIES = 20
_BLOCK = 1 << 20


class BackupFailed(MingbaiError):
    """The backup could not be written, or the ledger changed its files faster than they could be listed."""

    code = "backup_failed"
    template = "{path}: {what}"


class BackupUnreadable(MingbaiError):
    """The file is no whole backup; nothing was restored."""

    code = "backup_unreadable"
    template = "{path}: {what}"


@dataclass(frozen=True, slots=True)
class BackedUp:
    """What a backup holds."""

    path: Path
    bytes: int
    files: int
    streams: tuple[str, ...]
    has_keys: bool
    created_at: str
    version: str
    database: str  # file name below database/, "" for none


# -- out ---------------------------------------------------------------------------------------------------------------


def write_backup(
    data_dir: Path,
    target: Path,
    *,
    now: datetime,
    copy_database: Callable[[Path], Path | None],
    with_keys: bool = True,
    keys_path: Path | None = None,
) -> BackedUp:
    """Write the backup of a data directory in use to `target`, which must not be there yet.

    copy_database: puts a consistent copy of the database into the folder that it is given, and returns the file.
    keys_path: where the key file lies, if not in the data directory. Raises BackupFailed.
    """
    if target.exists():
        raise BackupFailed(path=str(target), what="there is a file already; a backup overwrites nothing")
    partial = target.with_name(target.name + ".partial")
    try:
        with tempfile.TemporaryDirectory(prefix="backup-", dir=_run_dir(data_dir)) as staging:
            folder = Path(staging)
            database = copy_database(folder)
            ledger = _snapshot(data_dir / "ledger", folder / "ledger")
            handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "wb") as out:
                files = _write(out, data_dir, folder, database, with_keys, keys_path, now, ledger)
                out.flush()
                os.fsync(out.fileno())
        partial.rename(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise BackupFailed(path=str(target), what=error.strerror or str(error)) from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return BackedUp(
        target,
        target.stat().st_size,
        files,
        ledger.streams,
        with_keys,
        format_utc(now),
        __version__,
        database.name if database is not None else "",
    )


def _run_dir(data_dir: Path) -> Path:
    folder = data_dir / "run"
    folder.mkdir(exist_ok=True, mode=0o700)
    return folder


def _write(
    out: IO[bytes],
    data_dir: Path,
    staging: Path,
    database: Path | None,
    with_keys: bool,
    keys_path: Path | None,
    now: datetime,
    snapshot: _Snapshot,
) -> int:
    sums: dict[str, str] = {}
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:

        def add(path: Path, name: str, size: int | None = None) -> None:
            with path.open("rb") as source:
                info = tarfile.TarInfo(name)
                info.size = os.fstat(source.fileno()).st_size if size is None else size
                info.mode, info.mtime = 0o600, int(now.timestamp())
                reader = _Hashing(source, info.size)
                tar.addfile(info, reader)
                sums[name] = reader.hexdigest()

        if database is not None:
            add(database, f"database/{database.name}")
        ledger = staging / "ledger"
        for path in sorted(ledger.rglob("*")):
            if path.is_file():
                name = f"ledger/{path.relative_to(ledger).as_posix()}"
                add(path, name, snapshot.sizes.get(name))
        for path in sorted((data_dir / "policies").glob("*")):
            if path.is_file() and not path.name.startswith(".") and path.suffix != ".lock":
                add(path, f"policies/{path.name}")
        withheld = data_dir / "withheld.json"  # what no page may show any more: a restored copy must not either
        if withheld.is_file():
            add(withheld, withheld.name)
        if with_keys:
            for name in KEY_FILES:
                path = keys_path if name == "keys.json" and keys_path is not None else data_dir / name
                if path.is_file():
                    add(path, name)
        manifest = {
            "format": FORMAT,
            "version": __version__,
            "created_at": format_utc(now),
            "streams": list(snapshot.streams),
            "database": database.name if database is not None else "",
            "has_keys": with_keys,
            "files": sums,
        }
        body = json.dumps(manifest, indent=1, sort_keys=True).encode()
        info = tarfile.TarInfo(MANIFEST)
        info.size, info.mode, info.mtime = len(body), 0o600, int(now.timestamp())
        import io

        tar.addfile(info, io.BytesIO(body))
    return len(sums)


class _Hashing:
    """Reads exactly `size` bytes of a file that may grow meanwhile, and hashes them."""

    def __init__(self, source: IO[bytes], size: int) -> None:
        self._source, self._left, self._digest = source, size, hashlib.sha256()

    def read(self, most: int = -1) -> bytes:
        data = self._source.read(self._left if most < 0 else min(most, self._left))
        self._left -= len(data)
        self._digest.update(data)
        return data

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def _whole_commits(path: Path) -> int:
    """Bytes of an open segment up to the end of its last whole commit."""
    end = 0
    for item in scan_open(path):
        if isinstance(item, OpenCommit):
            end = item.frame.end
    return end


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """The ledger as it stood at one moment."""

    streams: tuple[str, ...]
    sizes: dict[str, int]  # of each open segment, by its name in the backup: bytes of whole commits at that moment


def _snapshot(ledger: Path, into: Path) -> _Snapshot:
    """Hard links to every file of every stream, as they stood at one moment: sealing and expiry then harm nothing.

    An open segment grows under its link, so its size belongs to the moment too: read later, it could hold the entry
    that seals another segment, whose sealed file was not there yet.
    """
    into.mkdir(parents=True, exist_ok=True)
    streams = sorted(path.name for path in ledger.iterdir() if path.is_dir()) if ledger.is_dir() else []
    sizes: dict[str, int] = {}
    for stream in streams:
        for _ in range(_TRIES):
            shutil.rmtree(into / stream, ignore_errors=True)
            before = _names(ledger / stream)
            try:
                for name in before:
                    link = into / stream / name
                    link.parent.mkdir(parents=True, exist_ok=True)
                    os.link(ledger / stream / name, link)
            except FileNotFoundError:  # a segment was sealed, or a day expired, in between
                continue
            of_stream = {
                f"ledger/{stream}/{name}": _whole_commits(into / stream / name)
                for name in before
                if name.endswith(".arrows")
            }
            if _names(ledger / stream) == before:
                sizes |= of_stream
                break
        else:
            raise BackupFailed(path=str(ledger / stream), what=f"its files changed in each of {_TRIES} tries")
    return _Snapshot(tuple(streams), sizes)


def _names(folder: Path) -> list[str]:
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if name != "lock" and not name.startswith("cut/") and not _is_temporary(name))


def _is_temporary(name: str) -> bool:
    return name.endswith((".tmp", ".new")) or Path(name).name.startswith(".")


# -- back --------------------------------------------------------------------------------------------------------------


def read_manifest(source: Path) -> BackedUp:
    """What a backup says of itself. Raises BackupUnreadable if it is none, or did not end."""
    with _opened(source) as tar:
        last = None
        for member in tar:
            last = member
        if last is None or last.name != MANIFEST:
            raise BackupUnreadable(path=str(source), what="it has no manifest at its end: it is cut, or is no backup")
        manifest = json.loads(tar.extractfile(last).read())  # type: ignore[union-attr]  # a file has one
    if manifest.get("format") != FORMAT:
        raise BackupUnreadable(path=str(source), what=f"its format is {manifest.get('format')!r}, not {FORMAT!r}")
    return BackedUp(
        source,
        source.stat().st_size,
        len(manifest["files"]),
        tuple(manifest["streams"]),
        bool(manifest["has_keys"]),
        manifest["created_at"],
        manifest["version"],
        manifest["database"],
    )


def extract_backup(source: Path, data_dir: Path) -> BackedUp:
    """Unpack a backup into a data directory that is new or empty, every file checked against the manifest.

    The database is left in DATA/database for the caller to put in its place. Raises BackupUnreadable: then the
    directory is as it was.
    """
    manifest = read_manifest(source)
    if data_dir.exists() and any(data_dir.iterdir()):
        raise BackupUnreadable(path=str(data_dir), what="restore needs a directory that is not there yet, or empty")
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".restore-", dir=data_dir.parent))
    try:
        sums: dict[str, str] = {}
        expected: dict[str, str] = {}
        with _opened(source) as tar:
            for member in tar:
                content = tar.extractfile(member)
                if not member.isfile() or content is None or not _is_inside(member.name):
                    raise BackupUnreadable(path=str(source), what=f"{member.name!r} is no file of a backup")
                if member.name == MANIFEST:
                    expected = json.loads(content.read())["files"]
                    continue
                sums[member.name] = _copy(content, staging / member.name)
        if sums != expected:
            wrong = sorted(name for name in sums.keys() | expected.keys() if sums.get(name) != expected.get(name))
            raise BackupUnreadable(path=str(source), what=f"{wrong[0]} is not as it was when the backup was made")
        if data_dir.exists():
            data_dir.rmdir()
        staging.rename(data_dir)
    except OSError as error:
        shutil.rmtree(staging, ignore_errors=True)
        raise BackupUnreadable(path=str(source), what=error.strerror or str(error)) from error
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return manifest


@contextmanager
def _opened(source: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(source, "r:") as tar:
            yield tar
    except FileNotFoundError:
        raise BackupUnreadable(path=str(source), what="there is no such file") from None
    except (tarfile.TarError, ValueError, KeyError, EOFError) as error:
        raise BackupUnreadable(path=str(source), what="it is cut or damaged, or is no backup") from error


def _is_inside(name: str) -> bool:
    parts = Path(name).parts
    return bool(parts) and not name.startswith("/") and ".." not in parts and "\\" not in name


def _copy(content: IO[bytes], target: Path) -> str:
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    digest = hashlib.sha256()
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as out:
        while block := content.read(_BLOCK):
            digest.update(block)
            out.write(block)
        out.flush()
        os.fsync(out.fileno())
    return digest.hexdigest()
