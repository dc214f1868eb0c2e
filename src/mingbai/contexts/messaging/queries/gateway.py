"""The SMS gateway for people and programs: its rows without secrets, and what its workers say of themselves, as one.

A worker that does not answer is left out; none that answers means that the gateway does not run. Numbers come masked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from mingbai.connectors import gateway_live
from mingbai.connectors.gateway_registry import SECRETS, Mode, RegistryUnusable, read_published, registry_path
from mingbai.contexts.messaging.models import GatewayRow, GatewayState
from mingbai.contexts.messaging.queries.traffic import installed_settings
from mingbai.kernel.clock import parse_utc
from mingbai.kernel.errors import BadValue
from mingbai.kernel.masking import masked_number

Document = dict[str, Any]  # Any: JSON
_UP: Final = ("open", "bound")
_TIMES: Final = frozenset(("at", "since", "retry_at", "bypass_until", "expires_at", "not_after", "started_at"))


@dataclass(frozen=True, slots=True)
class LiveGateway:
    """What the workers that answer say, added up. workers: each with its number, process and registry."""

    workers: tuple[Document, ...]
    missing: int  # workers that left a socket and do not answer
    totals: Document
    accounts: tuple[Document, ...]
    smscs: tuple[Document, ...]
    connections: tuple[Document, ...]
    alarms: tuple[Document, ...]
    certificates: tuple[Document, ...]
    refusals: Document  # messages that were not taken, by why
    logins_refused: int

    @property
    def is_running(self) -> bool:
        return bool(self.workers)

    @property
    def bound(self) -> int:
        return sum(one["is_up"] for one in self.connections)


def live() -> LiveGateway:
    """Asks the workers now."""
    data = installed_settings().data
    found = [_timed(one) for one in gateway_live.live(data)]
    return LiveGateway(
        workers=tuple(
            {name: one.get(name) for name in ("worker", "pid", "started_at", "registry", "registry_problem", "policy")}
            for one in found
        ),
        missing=max(0, len(gateway_live.workers(data)) - len(found)),
        totals=_totals([one.get("totals", {}) for one in found]),
        accounts=_by_name(row for one in found for row in one.get("accounts", [])),
        smscs=_by_name(row for one in found for row in one.get("smscs", [])),
        connections=tuple(
            {**row, "worker": one.get("worker"), "is_up": row.get("state") in _UP}
            for one in found
            for row in one.get("connections", [])
        ),
        alarms=tuple({**row, "worker": one.get("worker")} for one in found for row in one.get("alarms", [])),
        certificates=tuple({row["name"]: row for one in found for row in one.get("certificates", [])}.values()),
        refusals=_summed([one.get("refusals", {}) for one in found]),
        logins_refused=sum(int(one.get("logins_refused") or 0) for one in found),
    )


def _totals(given: Sequence[Document]) -> Document:
    """Counts added up; of the times for a message the longest of any worker."""
    latency = [one.get("latency_ms") or {} for one in given]
    longest = {
        name: max((one[name] for one in latency if one.get(name) is not None), default=None) for name in ("p50", "p99")
    }
    return {**_summed(given), "latency_ms": longest}


def _summed(given: Sequence[Document]) -> Document:
    summed: Counter[str] = Counter()
    for one in given:
        summed.update({name: value for name, value in one.items() if isinstance(value, int | float)})
    return dict(summed)


def _by_name(rows: Iterable[Document]) -> tuple[Document, ...]:
    """An account or SMSC is one thing to people, whichever workers have its connections."""
    found: dict[str, Document] = {}
    for row in rows:
        known = found.get(row["name"])
        found[row["name"]] = row if known is None else {name: _both(name, known.get(name), row[name]) for name in row}
    return tuple(found[name] for name in sorted(found))


def _both(name: str, one: Any, other: Any) -> Any:  # Any: JSON
    if one is None or other is None:
        return one if other is None else other
    if isinstance(one, dict):
        return _summed([one, other])
    if isinstance(one, bool) or isinstance(other, str | datetime):
        return one if name != "state" or one in _UP or other not in _UP else other
    return max(one, other) if name == "latency_ms" else one + other


def _timed(given: Any) -> Any:  # Any: JSON; with its times as such
    if isinstance(given, dict):
        return {
            name: moment(value) if name in _TIMES and isinstance(value, str) else _timed(value)
            for name, value in given.items()
        }
    return [_timed(one) for one in given] if isinstance(given, list) else given


def moment(text: str | None) -> datetime | None:
    try:
        return parse_utc(text) if text else None
    except BadValue:
        return None


# -- dead letters, messages in doubt


@dataclass(frozen=True, slots=True)
class Waiting:
    """Messages that wait for a person, oldest first, numbers masked. next: id to go on after."""

    items: tuple[Document, ...]
    total: int
    next: str | None
    is_running: bool
    is_whole: bool  # no worker is missing


def waiting(which: str, *, after: str = "", limit: int = 100) -> Waiting:
    """`dead`: could not be delivered; `doubt`: sent, and nobody knows whether it was taken."""
    data = installed_settings().data
    found = gateway_live.listed(data, which, after=after, limit=limit + 1)
    shown = tuple(
        {
            **_timed(one),
            "source": masked_number(str(one.get("source", ""))),
            "destination": masked_number(str(one.get("destination", ""))),
        }
        for one in found.items[:limit]
    )
    is_running = bool(gateway_live.workers(data)) and (found.is_whole or bool(found.items) or found.total > 0)
    following = shown[-1]["id"] if len(found.items) > limit else None
    return Waiting(shown, found.total, following, is_running, found.is_whole)


def waiting_ids(which: str, *, most: int) -> list[str]:
    """Ids of all messages that wait now, oldest first, at most so many."""
    data = installed_settings().data
    found: list[str] = []
    while len(found) < most:
        page = gateway_live.listed(data, which, after=found[-1] if found else "", limit=gateway_live.MOST_LISTED)
        found += [str(one["id"]) for one in page.items]
        if len(page.items) < gateway_live.MOST_LISTED:
            break
    return found[:most]


# -- rows


def rows(kind: str) -> list[GatewayRow]:
    return list(GatewayRow.objects.filter(kind=kind).order_by("name"))


def row(kind: str, name: str) -> GatewayRow | None:
    return GatewayRow.objects.filter(kind=kind, name=name).first()


def names(kind: str) -> list[str]:
    return list(GatewayRow.objects.filter(kind=kind).order_by("name").values_list("name", flat=True))


def counts() -> Mapping[str, int]:
    return Counter(GatewayRow.objects.values_list("kind", flat=True))


@dataclass(frozen=True, slots=True)
class Bypass:
    """Messages of an account, or on a route, that pass unscreened now."""

    kind: str
    name: str
    until: datetime


def bypasses(now: datetime) -> list[Bypass]:
    found = []
    for row in GatewayRow.objects.filter(kind__in=("accounts", "routes"), document__mode=Mode.BYPASS.value):
        until = moment(row.document.get("bypass_until"))
        if until is not None and until > now and row.document.get("active", True):
            found.append(Bypass(row.kind, row.name, until))
    return found


def without_secrets(kind: str, document: Mapping[str, Any]) -> Document:
    """A row as anybody may see it: of a secret, only whether there is one."""
    secrets = SECRETS.get(kind, ())
    shown = {name: value for name, value in document.items() if name not in secrets}
    return shown | {f"has_{name}": bool(document.get(name)) for name in secrets}


def portability() -> str:
    state = GatewayState.objects.filter(pk=1).first()
    return state.portability if state is not None else ""


@dataclass(frozen=True, slots=True)
class InForce:
    """What the gateway's file says. version 0: nothing was published; problem: it cannot be read."""

    version: int
    at: datetime | None = None
    by: str = ""
    problem: str = ""


_read: tuple[object, InForce] | None = None  # pages ask every two seconds, and the file is as long as the tables


def in_force() -> InForce:
    global _read
    data = installed_settings().data
    try:
        found = registry_path(data).stat()
    except OSError:
        return InForce(0)
    mark = (data, found.st_ino, found.st_mtime_ns, found.st_size)
    if _read is None or _read[0] != mark:
        try:
            published = read_published(data)
        except RegistryUnusable as error:
            return InForce(0, problem=str(error))
        if published is None:
            return InForce(0)
        _read = mark, InForce(published.version, published.at, published.by)
    return _read[1]
