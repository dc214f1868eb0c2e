"""A subscriber's requests about own data: asked, answered or refused in time, fetched, forgotten.

Access and export (articles 45 of the Personal Information Protection Law) are answered by a ZIP with everything that is
held about the account's number, which the subscriber fetches until it expires. Erasure (article 47) closes and empties
the account and withholds the originals that the law still makes the operator store (`ledger/withheld.py`).

Other contexts that hold something about a person add it with `register`.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from allauth.usersessions.models import UserSession
from django.db import transaction

from mingbai.connectors.subscriber_record import SubscriberRecord, record_of, withhold_number
from mingbai.contexts.audit import services as audit
from mingbai.contexts.audit.policy import spreadsheet_cell
from mingbai.contexts.people.choices import RequestKind, RequestState
from mingbai.contexts.people.models import Account, DataRequest, Invitation, Token
from mingbai.contexts.people.services.accounts import ERASED
from mingbai.contexts.people.services.roles import check_not_own, keeps_an_administrator
from mingbai.contexts.people.services.sessions import end_sessions
from mingbai.kernel.clock import format_utc
from mingbai.kernel.errors import BadValue, MingbaiError
from mingbai.settings import Settings

RESULT_DAYS = 14  # for fetching an answer; then it is forgotten, and can be asked for again
REMIND_DAYS = 3
_MOST_NOTE = 2000


class RequestClosed(MingbaiError):
    """The request was answered before."""

    code = "request_closed"
    template = "this request was answered already"


@dataclass(frozen=True, slots=True)
class Holder:
    """A context that holds something about a person.

    held: rows of it, as JSON; erase: forgets what may be forgotten and returns how many rows that were.
    """

    name: str
    held: Callable[[Account], list[dict[str, Any]]]  # Any: JSON values
    erase: Callable[[Account, datetime], int]


_holders: dict[str, Holder] = {}


def register(holder: Holder) -> None:
    """Once, when Django starts (`AppConfig.ready`)."""
    _holders[holder.name] = holder


# -- the subscriber


def ask(account: Account, kind: str, *, now: datetime, due_days: int, note: str = "") -> DataRequest:
    """Open a request. Raises BadValue; an open request of the same kind is given instead of a second one."""
    if kind not in RequestKind.values:
        raise BadValue(field="kind", value=kind, expected=f"one of {', '.join(RequestKind.values)}")
    if len(note) > _MOST_NOTE:
        raise BadValue(field="note", value=f"{len(note)} characters", expected=f"at most {_MOST_NOTE}")
    with transaction.atomic():
        known = DataRequest.objects.filter(account=account, kind=kind, state=RequestState.OPEN).first()
        if known is not None:
            return known
        due = now + timedelta(days=due_days)
        request = DataRequest.objects.create(account=account, kind=kind, note=note, created_at=now, due_at=due)
        data = {"request": str(request.pk), "kind": kind, "due_at": format_utc(due)}
        audit.append("data_request.opened", actor=account.ref, subject=account.ref, data=data, now=now)
    return request


def fetch(request: DataRequest, *, actor: str, now: datetime) -> bytes:
    """The ZIP. Raises BadValue when there is none (any more)."""
    if request.result is None or request.result_expires_at is None or request.result_expires_at <= now:
        raise BadValue(field="request", value=str(request.pk), expected="an answer that has not expired")
    with transaction.atomic():
        _entry("data_request.fetched", request, actor, now)
    return bytes(request.result)


# -- the administrator


def answer(request: DataRequest, settings: Settings, *, actor: str, now: datetime) -> DataRequest:
    """Do what was asked for. Raises RequestClosed, OwnRights for one's own, LastAdministrator, KeysUnusable."""
    check_not_own(request.account, actor)
    if request.kind == RequestKind.ERASURE:
        return _erase(request, settings, actor=actor, now=now)
    result = _archive(request.account, settings, now=now)
    with transaction.atomic():
        _claim(request)
        request.state, request.answered_at, request.answered_by_id = RequestState.READY, now, _account_id(actor)
        request.result, request.result_expires_at = result, now + timedelta(days=RESULT_DAYS)
        request.save()
        _entry("data_request.answered", request, actor, now, bytes=len(result))
    return request


def refuse(request: DataRequest, *, reason: str, actor: str, now: datetime) -> DataRequest:
    """Say why not; the subscriber reads it. Raises BadValue without a reason, RequestClosed."""
    check_not_own(request.account, actor)
    reason = reason.strip()
    if not 5 <= len(reason) <= _MOST_NOTE:
        raise BadValue(
            field="reason", value=reason, expected=f"5 to {_MOST_NOTE} characters, which the subscriber reads"
        )
    with transaction.atomic():
        _claim(request)
        request.state, request.answer = RequestState.REFUSED, reason
        request.answered_at, request.answered_by_id = now, _account_id(actor)
        request.save()
        _entry("data_request.refused", request, actor, now)
    return request


def _erase(request: DataRequest, settings: Settings, *, actor: str, now: datetime) -> DataRequest:
    account = request.account
    until = None
    if account.number:
        # Before the transaction: if that fails, a number is withheld too early, which hurts nobody.
        until = withhold_number(settings, account.number, now=now)
    with keeps_an_administrator():
        _claim(request)
        erased = {name: holder.erase(account, now) for name, holder in sorted(_holders.items())}
        erased["sessions"] = end_sessions(account)
        for name, rows in (
            ("tokens", Token.objects.filter(account=account)),
            ("invitations", Invitation.objects.filter(account=account)),
            ("second_factors", Authenticator.objects.filter(user_id=account.pk)),
            ("directory", SocialAccount.objects.filter(user_id=account.pk)),
        ):
            erased[name] = rows.delete()[0]
        DataRequest.objects.filter(account=account).exclude(pk=request.pk).update(
            note="", answer="", result=None, result_expires_at=None
        )
        account.assignments.all().delete()
        account.teams.clear()
        account.username = f"{ERASED}{account.pk}"
        account.name = account.email = account.number = account.language = ""
        account.skills = []
        account.is_active = False
        account.set_unusable_password()
        account.save()
        request.note, request.state = "", RequestState.DONE
        request.answered_at, request.answered_by_id = now, _account_id(actor)
        request.save()
        _entry(
            "data_request.erased", request, actor, now,
            erased=erased, withheld_until=None if until is None else format_utc(until),
        )  # fmt: skip
    return request


# -- what the worker does


def watch_due_dates(*, now: datetime) -> int:
    """An entry for each open request that is due soon, and one when it is overdue. Returns how many entries."""
    count = 0
    waiting = DataRequest.objects.filter(state=RequestState.OPEN).defer("result")
    for request in waiting.filter(overdue_at=None, due_at__lt=now):
        with transaction.atomic():
            if DataRequest.objects.filter(pk=request.pk, overdue_at=None).update(overdue_at=now):
                _entry("data_request.overdue", request, "job:data requests", now, due_at=format_utc(request.due_at))
                count += 1
    soon = now + timedelta(days=REMIND_DAYS)
    for request in waiting.filter(reminded_at=None, due_at__gte=now, due_at__lt=soon):
        with transaction.atomic():
            if DataRequest.objects.filter(pk=request.pk, reminded_at=None).update(reminded_at=now):
                _entry("data_request.due_soon", request, "job:data requests", now, due_at=format_utc(request.due_at))
                count += 1
    return count


def forget_results(*, now: datetime) -> int:
    """Answers that were not fetched in time go. Returns how many."""
    count = 0
    for request in DataRequest.objects.filter(state=RequestState.READY, result_expires_at__lte=now).defer("result"):
        with transaction.atomic():
            rows = DataRequest.objects.filter(pk=request.pk, state=RequestState.READY)
            if rows.update(state=RequestState.DONE, result=None):
                _entry("data_request.expired", request, "job:data requests", now)
                count += 1
    return count


# -- inside


def _claim(request: DataRequest) -> None:
    """Ours to answer, or RequestClosed: two administrators may press at once."""
    if not DataRequest.objects.select_for_update().filter(pk=request.pk, state=RequestState.OPEN).exists():
        raise RequestClosed()


def _account_id(actor: str) -> str | None:
    kind, _, id = actor.partition(":")
    if kind == "token":
        return str(Token.objects.get(pk=id).account_id)
    return id if kind == "account" else None


def _entry(kind: str, request: DataRequest, actor: str, now: datetime, **data: object) -> None:
    told = {"request": str(request.pk), "kind": str(request.kind), **data}
    audit.append(kind, actor=actor, subject=f"account:{request.account_id}", data=told, now=now)


def _archive(account: Account, settings: Settings, *, now: datetime) -> bytes:
    record = record_of(settings, account.number) if account.number else SubscriberRecord([], is_cut=False)
    held: dict[str, object] = {
        "account": _account_data(account),
        **{name: holder.held(account) for name, holder in sorted(_holders.items())},
    }
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README.txt", _readme(record, now))
        for name, value in held.items():
            archive.writestr(f"{name}.json", _json(value))
        archive.writestr("messages.json", _json(record.messages))
        archive.writestr("messages.csv", _csv(record.messages))
    return target.getvalue()


def _account_data(account: Account) -> dict[str, object]:
    sessions = UserSession.objects.filter(user_id=account.pk)
    return {
        "username": account.username,
        "name": account.name,
        "email": account.email,
        "number": account.number,
        "language": account.language,
        "created_at": format_utc(account.created_at),
        "roles": [row.role for row in account.assignments.all()],
        "sessions": [
            {"address": row.ip, "browser": row.user_agent, "last_seen_at": format_utc(row.last_seen_at)}
            for row in sessions
        ],
        "requests": [
            {"kind": row.kind, "state": row.state, "asked_at": format_utc(row.created_at), "note": row.note}
            for row in account.data_requests.defer("result")
        ],
    }


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def _csv(rows: list[dict[str, Any]]) -> str:  # Any: JSON values
    columns = (
        "decided_at", "sent_at", "direction", "sender", "receiver", "access_code", "verdict", "category", "score",
        "reasons", "text", "text_is", "numbers", "id",
    )  # fmt: skip
    target = io.StringIO()
    target.write("\ufeff")  # so that Excel reads UTF-8
    writer = csv.writer(target)
    writer.writerow(columns)
    for row in rows:
        values = [" ".join(value) if isinstance(value := row.get(name), list) else value for name in columns]
        writer.writerow([spreadsheet_cell("" if value is None else str(value)) for value in values])
    return target.getvalue()


def _readme(record: SubscriberRecord, now: datetime) -> str:
    lines = [
        "Mingbai / 明白",
        "",
        f"What is held about you, as of {format_utc(now)}. 截至该时刻所保存的与您有关的全部信息。",
        "",
        "account.json    your account / 您的账户",
        "messages.json, messages.csv    messages to and from your number / 与您号码有关的短信及处理结果",
        "text_is, numbers: kept = still stored / 仍保存, no_longer_kept = deleted / 已删除,",
        "    never_kept = never stored / 未保存, unreadable = its key is lost / 密钥已丢失",
    ]
    if record.is_cut:
        lines += [
            "",
            f"Only the newest {len(record.messages)} messages. 仅含最近的短信。",
        ]
    return "\n".join(lines) + "\n"
