"""A computation of minutes in a process of its own: a replay of the record, learning, comparing, drift.

    python -m mingbai.connectors.long_work     the request as one line of JSON on stdin; on stdout a line of JSON each
                                               time there is news, `{"progress": ..}`, and last `{"result": ..}` or
                                               `{"error": ..}`

Apart, because it takes memory and processor time that pages, deadlines and the screener must not wait for. It ends
when whoever started it is gone (stdin ends), and stops with what it has when it is told to (a line on stdin). It knows
no database: what it is to do comes in the request, and what it found goes back; texts of messages stay here.

`LongWork` is the other side: it starts the process and listens.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass, replace
from datetime import date, datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO
from uuid import UUID

from mingbai.kernel.clock import format_utc, parse_utc, utc_now
from mingbai.kernel.errors import BadValue, MingbaiError
from mingbai.settings import Settings, load_settings

if TYPE_CHECKING:
    from mingbai.connectors.policies import PolicySource
    from mingbai.connectors.replay import Change, Example
    from mingbai.engines.screening.model import Model
    from mingbai.ledger import KeyStore

LISTED: Final = 1000  # messages listed in each direction: what a person may look through
_BACKGROUND: Final = 10_000  # texts of ordinary traffic that keep a learnt model where it was
_EVERY_S: Final = 0.25  # between two lines of news

Report = Callable[[Mapping[str, Any]], None]  # Any: JSON
ShouldStop = Callable[[], bool]


class WorkFailed(MingbaiError):
    """The process ended with an error, or without a word."""

    code = "work_failed"
    template = "{detail}"


# ---- the side that asks


class LongWork:
    """One request at work. `wait_news` gives progress; `stop` asks it to come to an end."""

    def __init__(self, data_dir: Path, request: Mapping[str, Any]) -> None:  # Any: JSON
        env = {**os.environ, "MINGBAI_DATA": str(data_dir)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mingbai.connectors.long_work"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=env,
        )
        assert self._process.stdin is not None
        self._news: list[dict[str, Any]] = []  # Any: JSON
        self._changed = threading.Condition()
        self._has_ended = False
        self._listener = threading.Thread(target=self._listen, daemon=True, name="long work")
        self._listener.start()
        try:
            self._process.stdin.write(json.dumps(request, ensure_ascii=False) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it ended at once: `wait_news` says so

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_news(self, timeout_s: float) -> dict[str, Any] | None:  # Any: JSON
        """The latest line of news; None: there was none in this time. Raises WorkFailed once it ended without one."""
        with self._changed:
            if not self._news and not self._has_ended:
                self._changed.wait(timeout_s)
            if self._news:
                last = next((one for one in self._news if "progress" not in one), self._news[-1])
                self._news = []
                return last
            if self._has_ended:
                code = self._process.wait()
                raise WorkFailed(detail=f"the process ended with {code} and without a result")
        return None

    def stop(self) -> None:
        """It ends soon, with a result as far as it got."""
        try:
            if self._process.stdin is not None:
                self._process.stdin.write("stop\n")
                self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            pass

    def close(self) -> None:
        """End it, whatever it does."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._listener.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                news = json.loads(line)
            except ValueError:  # a library printed something
                continue
            with self._changed:
                self._news.append(news)
                self._changed.notify()
        with self._changed:
            self._has_ended = True
            self._changed.notify()


# ---- the process


def main() -> int:
    """Do what stdin asks."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    sys.stdout = sys.stderr  # what a library prints is no answer
    lock = threading.Lock()

    def say(document: Mapping[str, Any]) -> None:
        with lock:
            out.write(json.dumps(document, ensure_ascii=False, default=_as_json) + "\n")
            out.flush()

    request = json.loads(sys.stdin.readline())
    stop = threading.Event()
    threading.Thread(target=_watch, args=(sys.stdin, stop), daemon=True).start()
    last = 0.0

    def report(progress: Mapping[str, Any]) -> None:
        nonlocal last
        if time.monotonic() - last >= _EVERY_S:
            last = time.monotonic()
            say({"progress": progress})

    try:
        settings = load_settings()
        result = WORK[request["kind"]](settings, request, report, stop.is_set)
    except MingbaiError as error:
        say({"error": str(error)})
        return 1
    except MemoryError:
        say({"error": "there was not enough memory"})
        return 1
    except Exception as error:  # its words may quote a message: only its kind is told
        say({"error": f"{type(error).__name__} in the computation"})
        import traceback

        traceback.print_tb(error.__traceback__)
        print(type(error).__name__, file=sys.stderr)  # noqa: T201 - stderr is the log of this process
        return 1
    say({"result": result, "is_cancelled": stop.is_set()})
    return 0


def _watch(source: TextIO, stop: threading.Event) -> None:
    for _ in source:
        stop.set()
    os._exit(3)  # whoever asked is gone, and nobody would hear the answer


def _as_json(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return format_utc(value)
    if isinstance(value, (UUID, Path, date)):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if hasattr(value, "item"):  # a number of numpy's
        return value.item()
    raise TypeError(type(value).__name__)


def _streams(settings: Settings) -> list[str]:
    from mingbai.ledger import list_streams

    return list_streams(settings.data)


def _keys(settings: Settings) -> KeyStore:
    from mingbai.connectors.ledger_access import open_keys

    return open_keys(settings)


def _time(asked: Mapping[str, Any], name: str) -> datetime | None:
    return None if asked.get(name) is None else parse_utc(asked[name], name)


def _in_force(settings: Settings) -> PolicySource:
    from mingbai.connectors import policy_loading, policy_store

    return policy_loading.load(settings.data, policy_store.current(settings.data), now=utc_now())


def _model(settings: Settings, version: str) -> Model:
    """A model by its version: of the policy store, or the shipped one."""
    from mingbai.connectors import policy_loading, policy_store
    from mingbai.engines.screening.model import Model

    shipped = Model.load()
    if version in ("", shipped.version):
        return shipped
    return policy_loading.load_model(settings.data, policy_store.model_part(settings.data, version))


def _threads() -> int:
    return max(1, len(os.sched_getaffinity(0)) - 1)  # one is left for the messages that come in


# ---- replay


def _replay_rules(
    settings: Settings, request: Mapping[str, Any], report: Report, should_stop: ShouldStop
) -> dict[str, Any]:
    """What a rulebook would newly stop and newly free. request: rulebook (TOML); asked: since, until, against."""
    from mingbai.connectors.replay_record import Progress, replay_rules
    from mingbai.engines.screening.rulebook import parse
    from mingbai.engines.screening.rules import keyword_nids

    asked = request["asked"]
    now = utc_now()
    source = _in_force(settings)
    draft = replace(source, at=now, rulebook=parse(request["rulebook"], keyword_nids, source="the draft"))
    present = replace(source, at=now).policy() if asked.get("against") == "in_force" else None

    def on_progress(progress: Progress) -> None:
        report(asdict(progress))

    found = replay_rules(
        settings.data,
        _streams(settings),
        _keys(settings),
        draft.policy(),
        threads=_threads(),
        present=present,
        limit=LISTED,
        on_progress=on_progress,
        should_stop=should_stop,
        since=_time(asked, "since"),
        until=_time(asked, "until"),
    )
    return {
        "content": hashlib.sha256(request["rulebook"].encode()).hexdigest(),
        "answered": found.answered,
        "unchanged": found.unchanged,
        "shifted": found.shifted,
        "unanswered": found.unanswered,
        "no_text": {kept.value: count for kept, count in found.no_text.items()},
        "rescored": found.rescored,
        "first_at": found.first_at,
        "last_at": found.last_at,
        "is_cancelled": found.is_cancelled,
        "blocked": _change(found.blocked),
        "freed": _change(found.freed),
    }


def _change(change: Change) -> dict[str, Any]:  # Any: JSON
    return {
        "count": change.count,
        "by_hash": change.by_hash,
        "rules": dict(change.rules.most_common(50)),
        "old_rules": dict(change.old_rules.most_common(50)),
        "categories": {category.label: count for category, count in change.categories.most_common()},
        "access_codes": {code or "": count for code, count in change.access_codes.most_common(20)},
        "examples": [_example(one) for one in change.examples if one.entry is not None],
    }


def _example(one: Example) -> dict[str, Any]:  # Any: JSON
    """Where it stands and what changes; never what it says."""
    assert one.entry is not None
    return {
        "stream": one.entry.stream,
        "seq": one.entry.seq,
        "id": str(one.entry.id),
        "at": format_utc(one.entry.at),
        "access_code": one.entry.access_code or "",
        "old": int(one.old),
        "new": int(one.new),
        "category": int(one.category),
        "rules": list(one.rules),
        "old_rules": list(one.old_rules),
        "spans": [list(span) for span in one.spans],
    }


# ---- models


def _facts(model: Model) -> dict[str, Any]:  # Any: JSON
    """What a model's file says of itself: figures only."""
    languages = {}
    for name, language in (("chinese", model.chinese), ("english", model.english)):
        languages[name] = {
            "slots": int(language.table.size),
            "hidden": int(language.hidden_bias.size),
            "trees": int(language.forest_roots.size),
            "flag_at": float(language.flag_at),
            "block_at": float(language.block_at),
            "curve": [
                [round(float(logit), 4), round(float(score), 5)]
                for logit, score in zip(language.calibration_logit, language.calibration_score, strict=True)
            ],
        }
    return {
        "version": model.version,
        "bytes": len(model.to_bytes()),
        "alphabet": model.alphabet_version,
        "reading": model.reading_version,
        "about": model.about,
        "languages": languages,
    }


def _describe(
    settings: Settings, request: Mapping[str, Any], report: Report, should_stop: ShouldStop
) -> dict[str, Any]:
    """The facts of a model; version "": the shipped one."""
    return _facts(_model(settings, request["asked"].get("version", "")))


def _reviewed(settings: Settings, given: Sequence[Mapping[str, Any]]) -> tuple[list[Any], Counter[str]]:
    """Labelled messages with their texts, as far as those are kept. Any: `engines.screening.comparison.Reviewed`."""
    from mingbai.engines.screening.comparison import Reviewed
    from mingbai.kernel.verdicts import Category
    from mingbai.ledger import StreamReader

    keys = _keys(settings)
    by_stream: dict[str, list[Mapping[str, Any]]] = {}
    for label in given:
        by_stream.setdefault(label["stream"], []).append(label)
    found: list[Any] = []
    lost: Counter[str] = Counter()
    for stream, labels in sorted(by_stream.items()):
        reader = StreamReader(settings.data, stream, keys)
        labels.sort(key=lambda label: int(label["seq"]))
        for start in range(0, len(labels), 2000):
            part = labels[start : start + 2000]
            try:
                originals = reader.originals([int(label["seq"]) for label in part]).to_pylist()
            except BadValue:  # a label of an entry that is not there (an older copy of the ledger): none of these
                lost["missing"] += len(part)
                continue
            for label, original in zip(part, originals, strict=True):
                if not original["text"]:
                    lost[str(original["text_kept"])] += 1
                    continue
                found.append(
                    Reviewed(
                        text=original["text"],
                        category=Category(label["category"]),
                        weight=float(label.get("weight", 1.0)),
                        sender=original.get("sender"),
                        origin=f"{stream}:{label['seq']}:{label.get('id', '')}",
                        is_gold=bool(label.get("is_gold")),
                    )
                )
    return found, lost


def _learn(settings: Settings, request: Mapping[str, Any], report: Report, should_stop: ShouldStop) -> dict[str, Any]:
    """A candidate from reviewed messages, left in the policy store. request: reviewed; asked: seed, version."""
    from mingbai.connectors import policy_store
    from mingbai.connectors.drift import recent_texts
    from mingbai.engines.screening.learning import learn

    present = _model(settings, request["asked"].get("version", ""))
    report({"done": 0, "total": 100})
    reviewed, lost = _reviewed(settings, request["reviewed"])
    background = recent_texts(settings.data, _streams(settings), _keys(settings), limit=_BACKGROUND)

    def on_progress(share: float) -> None:
        if should_stop():
            raise _Stopped()
        report({"done": round(100 * share), "total": 100})

    try:
        model, made = learn(
            present, reviewed, seed=int(request["asked"].get("seed", 1)), background=background, on_progress=on_progress
        )
    except _Stopped:
        return {"lost": dict(lost), "reviewed": len(reviewed)}
    if model.version != present.version:  # equal: nothing was gained
        policy_store.add_model(settings.data, policy_store.ModelFile(model.version, model.to_bytes()))
    document = asdict(made)
    for name in ("comparison", "generated"):
        found = getattr(made, name)
        document[name] = None if found is None else _comparison(found)
    document["is_worse"] = made.is_worse
    return {
        "version": model.version,
        "facts": _facts(model),
        "report": document,
        "reviewed": len(reviewed),
        "background": len(background),
        "lost": dict(lost),
    }


class _Stopped(Exception):
    """Learning was told to stop."""


def _comparison(given: Any) -> dict[str, Any]:  # Any: `engines.screening.comparison.Comparison`
    """Without the texts: where each message stands, so that a page can show it to those who may read it."""
    document = asdict(given)
    document["is_worse"] = given.is_worse
    for side in ("present", "candidate"):
        figures = document[side]
        figures["categories"] = {category.label: one for category, one in figures["categories"].items()}
    changes = []
    for change in document["changes"]:
        change.pop("text")
        stream, _, rest = str(change.pop("origin")).partition(":")
        seq, _, id = rest.partition(":")
        changes.append({**change, "stream": stream, "seq": int(seq or 0), "id": id})
    document["changes"] = changes
    return document


def _compare(settings: Settings, request: Mapping[str, Any], report: Report, should_stop: ShouldStop) -> dict[str, Any]:
    """Two models on the same held-back messages. request: reviewed; asked: present, candidate (versions)."""
    from mingbai.engines.screening.comparison import compare, split

    report({"done": 0, "total": 100})
    reviewed, lost = _reviewed(settings, request["reviewed"])
    _, held_back = split(reviewed)
    if not held_back:
        raise BadValue(field="reviewed", value=len(reviewed), expected="reviewed messages that were held back")
    asked = request["asked"]
    report({"done": 30, "total": 100})
    found = compare(_model(settings, asked["present"]), _model(settings, asked["candidate"]), held_back, limit=LISTED)
    return {**_comparison(found), "lost": dict(lost)}


def _drift(settings: Settings, request: Mapping[str, Any], report: Report, should_stop: ShouldStop) -> dict[str, Any]:
    """How recent traffic differs from what a model was trained on. asked: version, since, until."""
    from mingbai.connectors.drift import measure_drift

    report({"done": 0, "total": 100})
    asked = request["asked"]
    found = measure_drift(
        settings.data,
        _streams(settings),
        _keys(settings),
        _model(settings, asked.get("version", "")),
        should_stop=should_stop,
        since=_time(asked, "since"),
        until=_time(asked, "until"),
    )
    return asdict(found)


WORK: Final[Mapping[str, Callable[[Settings, Mapping[str, Any], Report, ShouldStop], dict[str, Any]]]] = {
    "replay_rules": _replay_rules,
    "describe": _describe,
    "learn": _learn,
    "compare": _compare,
    "drift": _drift,
}


def lines_of(work: LongWork, timeout_s: float = 1.0) -> Iterator[dict[str, Any] | None]:  # Any: JSON
    """News until the end, None where a second passed without any: for a caller that has to do something between."""
    while True:
        news = work.wait_news(timeout_s)
        yield news
        if news is not None and "progress" not in news:
            return


if __name__ == "__main__":
    sys.exit(main())
