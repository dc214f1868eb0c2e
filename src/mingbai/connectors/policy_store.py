"""The policy in force, as files: where the control plane publishes it and the screener picks it up.

    DATA/policies/rulebook-<sha256>.toml     parts: each named by its content, written once, never changed
    DATA/policies/model-<version>.npz
    DATA/policies/exceptions-<sha256>.json
    DATA/policies/current.json               which parts are in force: replaced as a whole, last

The screener needs no database: it goes on, also after a restart, while the control plane is down. A part is on the disk
before `current.json` names it, so a power cut leaves the old policy or the new one. Where `current.json` does not
exist, what is shipped with the program is in force.

Nothing here loads compiled code, so that web processes start fast; `policy_loading` makes a policy of the files.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from enum import Enum
from importlib import resources
from pathlib import Path
from typing import Final

from mingbai.engines.screening.freed import KEY_BYTES, FreedMessage
from mingbai.kernel.clock import as_utc, format_utc, parse_utc
from mingbai.kernel.errors import BadValue, MingbaiError
from mingbai.kernel.verdicts import Category
from mingbai.ledger.files import FileOps, make_dirs, write_new

__all__ = [
    "KEEP",
    "FreedMessage",
    "Keep",
    "ModelFile",
    "Part",
    "PolicyUnusable",
    "Snapshot",
    "add_model",
    "current",
    "freed_messages",
    "model_part",
    "policies_dir",
    "publish",
    "read_part",
    "rulebook_text",
    "rulebook_version",
    "shipped_rulebook_text",
]

FORMAT: Final = 1
CURRENT: Final = "current.json"
_MODEL_VERSION = re.compile(r"[0-9a-f]{12}")
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_KEY = re.compile(rf"[0-9a-f]{{{2 * KEY_BYTES}}}")


class PolicyUnusable(MingbaiError):
    """A file of the policy is missing, or is not what was published. The policy before it stays in force."""

    code = "policy_unusable"
    template = "{path}: {what}"


class Keep(Enum):
    """Stands for a part that stays as it is."""

    KEEP = "keep"


KEEP: Final = Keep.KEEP


@dataclass(frozen=True, slots=True)
class Part:
    """One file of the policy. version: of the model (12 hex digits); else the SHA-256 of the file."""

    name: str
    sha256: str
    version: str


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model to publish: its version as `Model.version` gives it, and the bytes that `Model.save` writes."""

    version: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is in force. None stands for: the shipped rulebook, the shipped model, no shadow, no exceptions."""

    version: int  # from 1; each publication is one more
    rulebook: Part | None
    model: Part | None
    shadow_model: Part | None
    exceptions: Part | None
    published_at: datetime
    published_by: str


_PARTS: Final = ("rulebook", "model", "shadow_model", "exceptions")
ModelGiven = ModelFile | str | None | Keep


def policies_dir(data_dir: Path) -> Path:
    return data_dir / "policies"


# ---- publishing


def publish(
    data_dir: Path,
    *,
    now: datetime,
    by: str,
    rulebook: str | Keep | None = KEEP,
    model: ModelGiven = KEEP,
    shadow_model: ModelGiven = KEEP,
    exceptions: Sequence[FreedMessage] | Callable[[], Sequence[FreedMessage]] | Keep | None = KEEP,
    ops: FileOps | None = None,
) -> Snapshot:
    """Put a policy in force; returns when it is on the disk. The screener follows within a quarter of a second.

    rulebook: TOML, which somebody has checked; model, shadow_model: a file, or the version of one that `add_model` or
    an earlier publication left; exceptions: all of them, or a function that gives them. It is called when it is our
    turn, so that of two who publish at once the later one knows what the earlier one wrote. None: what is shipped, or
    nothing. What equals the policy in force makes no new version, so a caller who does not know whether he was heard
    says it again.

    Raises BadValue, PolicyUnusable (current.json or a model that is named is damaged) or OSError; then the policy in
    force has not changed.
    """
    ops = ops or FileOps()
    folder = policies_dir(data_dir)
    make_dirs(ops, folder)
    with _only_one(folder):
        before = current(data_dir)
        parts = {name: _kept(before, name) for name in _PARTS}
        if not isinstance(rulebook, Keep):
            parts["rulebook"] = None if rulebook is None else _put(ops, folder, "rulebook.toml", rulebook.encode())
        for name, given in (("model", model), ("shadow_model", shadow_model)):
            if not isinstance(given, Keep):
                parts[name] = _model_part(ops, folder, given)
        if not isinstance(exceptions, Keep):
            freed = exceptions() if callable(exceptions) else exceptions
            parts["exceptions"] = _put(ops, folder, "exceptions.json", _exceptions_bytes(freed)) if freed else None
        if before is not None and all(_kept(before, name) == parts[name] for name in _PARTS):
            return before
        snapshot = Snapshot(
            version=1 if before is None else before.version + 1,
            **parts,
            published_at=as_utc(now, "now"),
            published_by=by,
        )
        write_new(ops, folder / CURRENT, [_current_bytes(snapshot)])
        return snapshot


def add_model(data_dir: Path, model: ModelFile, *, ops: FileOps | None = None) -> Part:
    """Keep a model's file without putting it in force: to try it, or to publish it later by its version."""
    ops = ops or FileOps()
    folder = policies_dir(data_dir)
    make_dirs(ops, folder)
    with _only_one(folder):
        return _put_model(ops, folder, model)


def rulebook_version(text: str) -> str:
    """The version that `publish` gives this rulebook."""
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """One publication at a time, over all processes; the kernel frees the lock of one that dies."""
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _kept(before: Snapshot | None, name: str) -> Part | None:
    part: Part | None = None if before is None else getattr(before, name)
    return part


def _model_part(ops: FileOps, folder: Path, given: ModelFile | str | None) -> Part | None:
    if given is None:
        return None
    if isinstance(given, ModelFile):
        return _put_model(ops, folder, given)
    return model_part(folder.parent, given)


def _put_model(ops: FileOps, folder: Path, model: ModelFile) -> Part:
    sha256 = hashlib.sha256(model.content).hexdigest()
    path = folder / _model_name(model.version)
    _write_part(ops, path, model.content, sha256)
    return Part(path.name, sha256, model.version)


def _model_name(version: str) -> str:
    if not _MODEL_VERSION.fullmatch(version):
        raise BadValue(field="model version", value=version, expected="12 hexadecimal digits")
    return f"model-{version}.npz"


def _put(ops: FileOps, folder: Path, name: str, content: bytes) -> Part:
    sha256 = hashlib.sha256(content).hexdigest()
    stem, _, ending = name.partition(".")
    path = folder / f"{stem}-{sha256}.{ending}"
    _write_part(ops, path, content, sha256)
    return Part(path.name, sha256, sha256)


def _write_part(ops: FileOps, path: Path, content: bytes, sha256: str) -> None:
    """Write the file, unless it is there and whole: a damaged one is mended by publishing it again."""
    try:
        if hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
            return
    except FileNotFoundError:
        pass
    write_new(ops, path, [content])


def _exceptions_bytes(exceptions: Sequence[FreedMessage]) -> bytes:
    rows = []
    for item in sorted(exceptions, key=lambda one: one.id):
        if not _ID.fullmatch(item.id):
            raise BadValue(field="exception id", value=item.id, expected="1 to 64 letters, digits and . _ -")
        if not _KEY.fullmatch(item.key):
            raise BadValue(
                field="exception key", value=item.key, expected=f"{2 * KEY_BYTES} hexadecimal digits in lower case"
            )
        rows.append(asdict(item) | {"expires_at": format_utc(item.expires_at), "category": int(item.category)})
    return json.dumps(rows, ensure_ascii=False, indent=1).encode()


def _current_bytes(snapshot: Snapshot) -> bytes:
    document = {"format": FORMAT, **asdict(snapshot), "published_at": format_utc(snapshot.published_at)}
    return json.dumps(document, ensure_ascii=False, indent=1).encode()


# ---- reading


def current(data_dir: Path) -> Snapshot | None:
    """The policy in force; None: nothing was ever published, and what is shipped applies. Raises PolicyUnusable."""
    path = policies_dir(data_dir) / CURRENT
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PolicyUnusable(path=str(path), what=error.strerror or str(error)) from error
    try:
        return _snapshot(json.loads(content))
    except (ValueError, TypeError, KeyError, RecursionError, BadValue) as error:
        raise PolicyUnusable(path=str(path), what=f"not what `publish` writes: {error!r}") from error


def _snapshot(document: object) -> Snapshot:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError(f"expected a document of format {FORMAT}")
    parts = {name: _part(document[name]) for name in _PARTS}
    version, by, at = document["version"], document["published_by"], document["published_at"]
    if type(version) is not int or version < 1 or not isinstance(by, str) or not isinstance(at, str):
        raise ValueError("version, published_by or published_at")
    return Snapshot(version=version, **parts, published_at=parse_utc(at), published_by=by)


def _part(given: object) -> Part | None:
    if given is None:
        return None
    if not isinstance(given, dict) or set(given) != {field.name for field in fields(Part)}:
        raise ValueError("a part has name, sha256 and version")
    name, sha256, version = (str(given[field.name]) for field in fields(Part))
    if Path(name).name != name or name in ("", ".", ".."):
        raise ValueError("a part lies in the folder of policies")
    return Part(name, sha256, version)


def read_part(data_dir: Path, part: Part) -> bytes:
    """The bytes of a part. Raises PolicyUnusable if they are not those that were published."""
    path = policies_dir(data_dir) / part.name
    content = _read(path)
    if hashlib.sha256(content).hexdigest() != part.sha256:
        raise PolicyUnusable(path=str(path), what="its bytes are not those that were published")
    return content


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PolicyUnusable(path=str(path), what=error.strerror or str(error)) from error


def shipped_rulebook_text() -> str:
    return resources.files("mingbai.engines.screening").joinpath("data/rulebook.toml").read_text("utf-8")


def rulebook_text(data_dir: Path, snapshot: Snapshot | None) -> str:
    """The TOML of a snapshot's rulebook. Raises PolicyUnusable."""
    if snapshot is None or snapshot.rulebook is None:
        return shipped_rulebook_text()
    return read_part(data_dir, snapshot.rulebook).decode()


def freed_messages(data_dir: Path, snapshot: Snapshot | None) -> tuple[FreedMessage, ...]:
    """The exceptions of a snapshot. Raises PolicyUnusable."""
    if snapshot is None or snapshot.exceptions is None:
        return ()
    content = read_part(data_dir, snapshot.exceptions)
    try:
        return tuple(
            FreedMessage(
                id=row["id"],
                key=row["key"],
                owner=row["owner"],
                expires_at=parse_utc(row["expires_at"]),
                category=Category(row["category"]),
            )
            for row in json.loads(content)
        )
    except (ValueError, TypeError, KeyError, BadValue) as error:
        path = policies_dir(data_dir) / snapshot.exceptions.name
        raise PolicyUnusable(path=str(path), what=f"not what `publish` writes: {error!r}") from error


def model_part(data_dir: Path, version: str) -> Part:
    """A model that lies here by its version, in force or not. Raises BadValue or PolicyUnusable."""
    name = _model_name(version)
    return Part(name, hashlib.sha256(_read(policies_dir(data_dir) / name)).hexdigest(), version)
