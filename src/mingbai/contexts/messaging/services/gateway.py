"""What people do with the SMS gateway: its accounts, SMSCs, routes, classes and ranges; modes; orders.

A change is one transaction: the row, the check of the registry as a whole, the entry. Then the registry is published to
the file that the gateway follows; a crash between the two is mended by `publish_present`, which the worker repeats:
what the rows say is what holds. Secrets are sealed before they reach a row and never stand in an entry.

Orders (a connection made anew, a message sent again) are entries too, and nothing else: `gateway_orders` carries them
to the gateway, so that an order that was recorded is carried out and one that was not is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.db import transaction

from mingbai.connectors.gateway_registry import (
    ROWS,
    SECRETS,
    Mode,
    Registry,
    publish_registry,
    read_published,
    read_registry,
    read_row,
    registry_path,
    seal,
    unseal,
)
from mingbai.contexts.audit import services as audit
from mingbai.contexts.messaging.models import GatewayKind, GatewayRow, GatewayState
from mingbai.contexts.messaging.queries.gateway import waiting_ids
from mingbai.contexts.messaging.queries.traffic import keys
from mingbai.contexts.messaging.services.gateway_orders import carry_orders
from mingbai.kernel.clock import format_utc, utc_now
from mingbai.kernel.errors import BadValue, MingbaiError
from mingbai.ledger import KeyStore

LONGEST_BYPASS: Final = timedelta(hours=24)  # a bad day; what lasts longer is decided again by somebody
MOST_AT_ONCE: Final = 500  # messages in one order: its entry names each
MOST_IN_ALL: Final = 20_000  # messages that one click orders: forty entries, and what an SMSC takes in some minutes
_LONGEST_SECRET: Final = 128  # octets: sealed, it must fit the registry's field
_WITH_MODE: Final = (GatewayKind.ACCOUNTS, GatewayKind.ROUTES)

Document = Mapping[str, Any]  # Any: JSON


class NoSuchRow(MingbaiError):
    """There is no row of this name at the gateway."""

    code = "gateway_no_such_row"
    template = "the gateway has nothing called {name} among its {kind}"
    http_status = 404


# ---- rows


def save_row(
    kind: str,
    document: Document,
    *,
    actor: str,
    now: datetime,
    is_new: bool | None = None,
    is_whole: bool = True,
) -> GatewayRow:
    """Add a row or change the one of the same name; what equals the present changes nothing.

    A secret that is left out or empty stays as it is; so do a mode that is left out while a bypass is on, and its end.
    is_new: whether it must be new (True) or must be there (False); is_whole: whether the registry is checked as a whole
    after it (a plan of many changes is checked after the last). Raises BadValue, NoSuchRow.
    """
    with transaction.atomic():
        state = _locked(now, actor)
        name = str(document.get("name", ""))
        present = GatewayRow.objects.filter(kind=_kind(kind), name=name).first()
        if present is not None and is_new:
            raise BadValue(field="name", value=name, expected="a name that is there once")
        if present is None and is_new is False:
            raise NoSuchRow(kind=kind, name=name)
        wanted = completed(kind, document, present.document if present is not None else None, keys(), now=now)
        if present is not None and present.document == wanted:
            return present
        before = present.document if present is not None else {}
        row = _put(kind, name, wanted, present, actor, now)
        data = {"fields": sorted(field for field in wanted if wanted[field] != before.get(field))}
        if present is None:
            audit.append("gateway.row_added", actor=actor, subject=row.ref, now=now)
        else:
            audit.append("gateway.row_changed", actor=actor, subject=row.ref, data=data, now=now)
        _changed(state, actor, now, is_whole=is_whole)
    return row


def completed(
    kind: str, document: Document, present: Document | None, keys: KeyStore, *, now: datetime
) -> dict[str, Any]:  # Any: JSON
    """A row as it would stand in the table: checked, with what it leaves out, secrets sealed. Raises BadValue."""
    given = dict(document)
    if present is not None and "mode" not in given and present.get("mode") == Mode.BYPASS:
        given["mode"], given["bypass_until"] = present["mode"], present["bypass_until"]
    row = read_row(kind, given).model_dump(mode="json")
    for name in SECRETS.get(kind, ()):
        row[name] = _secret(name, row, present, keys)
    if kind == GatewayKind.SMSCS and not row["client_certificate"]:
        row["client_key"] = ""  # the key of a certificate that is not used any more
    if kind == GatewayKind.ACCOUNTS and not row["secret"]:
        raise BadValue(field="secret", value="", expected="a secret: without one anybody could log in")
    if row.get("mode") == Mode.BYPASS:
        is_same = present is not None and all(row[name] == present[name] for name in ("mode", "bypass_until"))
        if not is_same:
            raise BadValue(
                field="mode", value=row["mode"], expected="enforce or observe: a bypass is ordered by itself"
            )
    elif "bypass_until" in row:
        row["bypass_until"] = None
    return row


def _secret(name: str, row: Document, present: Document | None, keys: KeyStore) -> str:
    given, kept = str(row[name]), str(present.get(name, "")) if present is not None else ""
    if not given or given == kept:
        return kept
    if given.startswith("sealed:"):
        raise BadValue(field=name, value="sealed", expected="a secret as the peer has it")
    if name == "secret" and len(given.encode()) > _LONGEST_SECRET:
        raise BadValue(field=name, value="a secret", expected=f"at most {_LONGEST_SECRET} octets")
    return kept if kept and unseal(keys, kept) == given.encode() else seal(keys, given)


def remove_row(kind: str, name: str, *, actor: str, now: datetime, is_whole: bool = True) -> None:
    """Raises NoSuchRow, and BadValue where something else of the registry needs it."""
    with transaction.atomic():
        state = _locked(now, actor)
        row = _found(kind, name)
        ref = row.ref
        row.delete()
        audit.append("gateway.row_removed", actor=actor, subject=ref, now=now)
        _changed(state, actor, now, is_whole=is_whole)


def set_portability(file: str, *, actor: str, now: datetime, is_whole: bool = True) -> None:
    """Which file says what numbers were ported where; "": none."""
    with transaction.atomic():
        state = _locked(now, actor)
        if state.portability == file:
            return
        if file and not Path(file).is_absolute():
            raise BadValue(field="portability", value=file, expected="an absolute path, or nothing")
        state.portability = file
        audit.append("gateway.portability_changed", actor=actor, data={"file": file}, now=now)
        _changed(state, actor, now, is_whole=is_whole)


def set_mode(
    name: str,
    mode: str,
    *,
    actor: str,
    now: datetime,
    kind: str = GatewayKind.ACCOUNTS,
    until: datetime | None = None,
    confirmation: str = "",
) -> GatewayRow:
    """What happens with the verdicts on an account's (or a route's) messages from now on.

    A bypass lets everything pass unscreened: it needs the name once more as its confirmation and an end within a day.
    Raises BadValue, NoSuchRow.
    """
    if kind not in _WITH_MODE:
        raise BadValue(field="kind", value=kind, expected="accounts or routes")
    allowed = [one.value for one in Mode] + ([""] if kind == GatewayKind.ROUTES else [])
    if mode not in allowed:
        raise BadValue(field="mode", value=mode, expected="enforce, observe or bypass")
    if mode == Mode.BYPASS:
        if confirmation != name:
            raise BadValue(field="confirmation", value=confirmation, expected="the name once more")
        if until is None or not now < until <= now + LONGEST_BYPASS:
            said = "" if until is None else until.isoformat()
            raise BadValue(field="until", value=said, expected="an end within the next 24 hours")
    with transaction.atomic():
        state = _locked(now, actor)
        row = _found(kind, name)
        end = format_utc(until) if mode == Mode.BYPASS and until is not None else None
        before = row.document.get("mode") or ""
        wanted = read_row(kind, {**row.document, "mode": mode or None, "bypass_until": end}).model_dump(mode="json")
        if wanted == row.document:
            return row
        row = _put(kind, name, wanted, row, actor, now)
        data = {"before": before, "after": mode}
        if mode == Mode.BYPASS:
            audit.append("gateway.bypass_ordered", actor=actor, subject=row.ref, data={**data, "until": end}, now=now)
        else:
            audit.append("gateway.mode_changed", actor=actor, subject=row.ref, data=data, now=now)
        _changed(state, actor, now)
    return row


# ---- orders


def bounce(kind: str, name: str, *, actor: str, now: datetime) -> None:
    """Connections of an account or SMSC are closed, so that they log in anew. Raises NoSuchRow."""
    if kind not in (GatewayKind.ACCOUNTS, GatewayKind.SMSCS):
        raise BadValue(field="kind", value=kind, expected="accounts or smscs")
    with transaction.atomic():
        row = _found(kind, name)
        side = "account" if kind == GatewayKind.ACCOUNTS else "smsc"
        data = {"kind": side, "name": name}
        audit.append("gateway.bounce_ordered", actor=actor, subject=row.ref, data=data, now=now)
        transaction.on_commit(lambda: carry_orders(now=utc_now()), robust=True)


def resend(ids: Iterable[str], *, actor: str, now: datetime) -> int:
    """Dead letters and messages in doubt are sent (again). Returns how many are ordered. Raises BadValue."""
    return _order("gateway.resend_ordered", ids, actor, now)


def drop(ids: Iterable[str], *, actor: str, now: datetime) -> int:
    """Dead letters are given up; messages in doubt count as sent. Returns and raises as `resend`."""
    return _order("gateway.drop_ordered", ids, actor, now)


def order_all(act: str, which: str, *, actor: str, now: datetime) -> int:
    """`resend` or `drop` all that wait now as `dead` or `doubt`, the oldest first, up to MOST_IN_ALL. Returns how
    many are ordered. Raises BadValue where none waits."""
    ids = waiting_ids(which, most=MOST_IN_ALL)
    if not ids:
        raise BadValue(field="ids", value=0, expected="messages that wait")
    order = resend if act == "resend" else drop
    with transaction.atomic():
        return sum(
            order(ids[first : first + MOST_AT_ONCE], actor=actor, now=now) for first in range(0, len(ids), MOST_AT_ONCE)
        )


def _order(kind: str, ids: Iterable[str], actor: str, now: datetime) -> int:
    given = list(dict.fromkeys(ids))
    if not 1 <= len(given) <= MOST_AT_ONCE:
        raise BadValue(field="ids", value=len(given), expected=f"1 to {MOST_AT_ONCE} messages")
    for id in given:
        if not (id.isascii() and id.isdigit() and len(id) <= 20):
            raise BadValue(field="ids", value=id[:40], expected="ids of messages, as the lists give them")
    with transaction.atomic():
        audit.append(kind, actor=actor, data={"ids": given, "count": len(given)}, now=now)
        transaction.on_commit(lambda: carry_orders(now=utc_now()), robust=True)
    return len(given)


# ---- publication


def publish_present() -> bool:
    """Make the gateway's file say what the rows say. True if it had to be changed. Raises OSError, RegistryUnusable.

    Before anything was ever set here, nothing is published: a registry that came otherwise stays as it is.
    """
    data: Path = settings.MINGBAI.data
    is_changed, done = False, -1
    while True:
        with transaction.atomic():
            state = GatewayState.objects.filter(pk=1).first()
            if state is None or state.revision in (0, done):  # nobody came between reading and publishing
                return is_changed
            if _published.get(data) == (state.revision, _mark(data)):  # by this process, and the file is as it was
                return is_changed
            registry = present_registry(state)
        before = read_published(data)
        after = publish_registry(data, registry, keys(), now=state.changed_at, by=state.changed_by)
        is_changed |= before is None or after.version != before.version
        _published[data] = (state.revision, _mark(data))
        done = state.revision


def is_published() -> bool:
    """Whether the gateway's file says what the rows say, or nothing was ever set here. Raises RegistryUnusable."""
    state = GatewayState.objects.filter(pk=1).first()
    if state is None or state.revision == 0:
        return True
    found = read_published(settings.MINGBAI.data)
    return found is not None and found.registry.model_dump(mode="json") == present_registry(state).model_dump(
        mode="json"
    )


_published: dict[Path, tuple[int, object]] = {}


def _mark(data: Path) -> object:
    try:
        found = registry_path(data).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def present_registry(state: GatewayState | None = None) -> Registry:
    """What the rows say, with sealed secrets, checked as a whole. Raises BadValue."""
    found = state or GatewayState.objects.filter(pk=1).first()
    return registry_of(
        ((row.kind, row.document) for row in GatewayRow.objects.order_by("kind", "name")),
        found.portability if found is not None else "",
    )


def registry_of(rows: Iterable[tuple[str, Document]], portability: str) -> Registry:
    """Rows as a registry, checked as a whole. Raises BadValue."""
    tables: dict[str, list[Document]] = {kind: [] for kind in ROWS}
    for kind, document in rows:
        tables[kind].append(document)
    return read_registry({**tables, "portability": portability})


# ---- within


def _kind(given: str) -> str:
    if given not in GatewayKind.values:
        raise BadValue(field="kind", value=given, expected=f"one of {', '.join(GatewayKind.values)}")
    return given


def _found(kind: str, name: str) -> GatewayRow:
    row = GatewayRow.objects.filter(kind=_kind(kind), name=name).first()
    if row is None:
        raise NoSuchRow(kind=kind, name=name)
    return row


def _locked(now: datetime, actor: str) -> GatewayState:
    """One change at a time (on SQLite the transaction itself is the lock)."""
    GatewayState.objects.get_or_create(pk=1, defaults={"changed_at": now, "changed_by": actor})
    return GatewayState.objects.select_for_update().get(pk=1)


def _put(
    kind: str, name: str, document: dict[str, Any], present: GatewayRow | None, actor: str, now: datetime
) -> GatewayRow:  # Any: JSON
    row = present or GatewayRow(kind=kind, name=name)
    row.document, row.updated_at, row.updated_by = document, now, actor
    row.save()
    return row


def _changed(state: GatewayState, actor: str, now: datetime, *, is_whole: bool = True) -> None:
    if is_whole:
        present_registry(state)
    state.revision += 1
    state.changed_at, state.changed_by = now, actor
    state.save()
    transaction.on_commit(publish_present, robust=True)
