"""What every operation of the API shares: tokens and rights, rate limits, idempotency keys, problems, cursors.

Standards: Bearer tokens (RFC 6750), problem details (RFC 9457), `Idempotency-Key` (IETF draft-ietf-httpapi-idempotency-
key-header), `RateLimit-*` and `Retry-After` (RFC 9110, section 10.2.3). Cookies are not looked at: a page of another
site cannot use a browser's session here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.db import IntegrityError, transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from ninja import Field, Schema
from ninja.security import HttpBearer

from mingbai.contexts.people.models import Account, IdempotencyKey, Token
from mingbai.contexts.people.policy import Action, Reach, Rights
from mingbai.contexts.people.queries import rights_of
from mingbai.contexts.people.services.tokens import token_hash
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import BadValue, MingbaiError

API_ROOT = "/api/v1/"
PROBLEM = "application/problem+json"
MAX_LIMIT = 1000
_STALE = timedelta(minutes=2)  # a request that has not ended by then died with its process
_MAX_KEY = 128
Row = TypeVar("Row", bound=Model)


class Problem(Schema):
    """RFC 9457. `code` is stable; `errors` names each field that is wrong."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = ""
    code: str = ""
    errors: list[dict[str, Any]] = Field(default_factory=list)  # Any: names and values of fields


class Page(Schema):
    """Where a list goes on: give `next` as `cursor`; null: this was all."""

    next: str | None = None


_TITLES = {
    400: "Bad request",
    401: "Not signed in",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Too large",
    415: "Unsupported media type",
    422: "A field is wrong",
    429: "Too many requests",
    500: "A fault of Mingbai",
    503: "Try again later",
}


def problem(
    status: int, detail: str = "", *, code: str = "", errors: Sequence[Mapping[str, object]] = ()
) -> HttpResponse:
    """An error as a problem document."""
    document = {
        "type": "about:blank",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        "code": code or f"http_{status}",
        "errors": list(errors),
    }
    response = HttpResponse(json.dumps(document, ensure_ascii=False, default=str), content_type=PROBLEM, status=status)
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="mingbai"'
    return response


def problem_of(error: MingbaiError) -> HttpResponse:
    """An error of the house as a problem document: 422 names the field, 503 says that a retry helps."""
    if isinstance(error, BadValue):
        fields = {name: error.data.get(name) for name in ("field", "value", "expected")}
        return problem(422, str(error), code=error.code, errors=[fields])
    if error.retryable:
        response = problem(503, str(error), code=error.code)
        response.headers["Retry-After"] = "1"
        return response
    problems = error.data.get("problems")
    status = int(getattr(error, "http_status", 409))
    listed = [_as_fields(item) for item in problems] if isinstance(problems, Sequence) else []
    return problem(status, str(error), code=error.code, errors=listed)


def _as_fields(item: object) -> dict[str, object]:
    names = ("line", "rule", "field", "value", "expected")
    return {name: getattr(item, name) for name in names if hasattr(item, name)} or {"detail": str(item)}


# -- rights ------------------------------------------------------------------------------------------------------------


class Allowed(HttpBearer):
    """The `auth` of an operation: a token whose account has one of these rights, within the token's scopes."""

    def __init__(self, *actions: Action) -> None:
        super().__init__()
        self.actions = actions

    def __call__(self, request: HttpRequest) -> object:
        rights: Rights = getattr(request, "rights", Rights())
        token = getattr(request, "token", None)
        if token is None:
            return None  # ninja: AuthenticationError
        if self.actions and not any(rights.may(action) for action in self.actions):
            raise NotAllowed(needed=", ".join(self.actions))
        return token

    def authenticate(self, request: HttpRequest, token: str) -> object:  # the gate has looked the token up
        return getattr(request, "token", None)


def allowed(*actions: Action) -> Allowed:
    """What an operation needs; without an action: any valid token."""
    return Allowed(*actions)


class NotAllowed(MingbaiError):
    """The token, or its account, lacks the right."""

    code = "not_allowed"
    template = "this needs the right {needed}"
    http_status = 403


class NotWithin(MingbaiError):
    """What is asked for is of the whole operator, and the right is for a part of it: as if it were not there."""

    code = "not_within"
    template = "this is of the whole operator, and the right {needed} is limited to a part of it"
    http_status = 404


class NotFound(MingbaiError):
    """There is no such thing, or not within the caller's scope: the answer is the same."""

    code = "not_found"
    template = "{what}: there is none with the id {id}"
    http_status = 404


def reach(request: HttpRequest, action: Action) -> Reach:
    """How far the right goes that the operation has declared."""
    rights: Rights = request.rights  # type: ignore[attr-defined]  # set by the gate
    found = rights.reach(action)
    if found is None:
        raise NotAllowed(needed=action)
    return found


def is_whole(request: HttpRequest, action: Action) -> bool:
    """Whether the right is for the whole operator."""
    return reach(request, action).is_all


def whole(request: HttpRequest, action: Action) -> None:
    """For what cannot be divided by units (webhooks, the control stream, teams). Raises NotWithin."""
    if not is_whole(request, action):
        raise NotWithin(needed=action)


def own_account(request: HttpRequest) -> Account:
    """Whose token this is."""
    account: Account = request.token.account  # type: ignore[attr-defined]  # set by the gate
    return account


def found(within: QuerySet[Row], what: str, id: object, field: str = "pk") -> Row:
    """The row with this id among those that the caller may reach. Raises NotFound."""
    row = within.filter(**{field: id}).first()
    if row is None:
        raise NotFound(what=what, id=id)
    return row


def actor(request: HttpRequest) -> str:
    """Who an entry names: the token, whose account its own entry names."""
    return str(request.token.ref)  # type: ignore[attr-defined]  # set by the gate


# -- cursors -----------------------------------------------------------------------------------------------------------


def to_cursor(position: Mapping[str, object] | None) -> str | None:
    """Where a list goes on, as an opaque text."""
    if position is None:
        return None
    return base64.urlsafe_b64encode(json.dumps(position, separators=(",", ":")).encode()).decode().rstrip("=")


def from_cursor(text: str | None) -> dict[str, Any] | None:  # Any: JSON
    """The inverse. Raises BadValue for a text that was not made here."""
    if not text:
        return None
    try:
        found = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, UnicodeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadValue(field="cursor", value=text, expected="the `next` of an earlier answer")
    return found


# -- the gate ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class Rates:
    """Token buckets in this process. With several processes each has its part of the rate."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[object, _Bucket] = {}
        self._lock = threading.Lock()

    def take(self, key: object, per_minute: float) -> float:
        """0 if one more request may pass now; else the seconds until it may. A burst may be a quarter of a minute."""
        most = max(1.0, per_minute / 4)
        with self._lock:
            now = self._clock()
            bucket = self._buckets.get(key)
            if bucket is None:
                if len(self._buckets) > 100_000:
                    self._buckets.clear()
                bucket = self._buckets[key] = _Bucket(most, now)
            bucket.tokens = min(most, bucket.tokens + (now - bucket.at) * per_minute / 60)
            bucket.at = now
            if bucket.tokens >= 1:
                bucket.tokens -= 1
                return 0.0
            return (1 - bucket.tokens) * 60 / per_minute


# They change nothing in the database, and wait for the screener: others shall not wait for them.
_WITHOUT_TRANSACTION = tuple(f"{API_ROOT}{path}" for path in ("screen", "rulebook/check", "rulebook/try"))
RATES = Rates()
_ANONYMOUS_PER_MINUTE = 60.0
_TOUCH = timedelta(minutes=1)


class ApiGate:
    """Middleware in front of `/api/v1/`: who is it, how often, has it been asked before. After RightsMiddleware."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path.startswith(API_ROOT):
            return self.get_response(request)
        try:
            response = self._answer(request)
        except RequestDataTooBig:
            response = problem(413, "the body is larger than this console takes", code="too_large")
        if response.status_code < 400 or response.headers.get("Content-Type", "").startswith(PROBLEM):
            return response
        told = problem(response.status_code)  # from before an operation was found: a page is no answer to a program
        if "Allow" in response.headers:
            told.headers["Allow"] = response.headers["Allow"]
        return told

    def _answer(self, request: HttpRequest) -> HttpResponse:
        request.rights = Rights()  # type: ignore[attr-defined]  # a session counts for nothing here
        request.token = None  # type: ignore[attr-defined]  # as above
        now = utc_now()
        found = _token_of(request, now)
        workers = max(1, int(settings.MINGBAI.console.workers))
        if found is None:
            wait = RATES.take(("anonymous", request.META.get("REMOTE_ADDR")), _ANONYMOUS_PER_MINUTE)
        else:
            wait = RATES.take(found.pk, found.rate_per_minute / workers)
        if wait:
            response = problem(429, f"one request may come in {wait:.1f} s", code="rate_limited")
            response.headers["Retry-After"] = str(max(1, round(wait + 0.5)))
            return response
        if found is not None:
            request.token = found  # type: ignore[attr-defined]  # as above
            request.user = found.account
            request.rights = rights_of(found.account, found)  # type: ignore[attr-defined]  # as above
            if found.last_used_at is None or now - found.last_used_at > _TOUCH:
                Token.objects.filter(pk=found.pk).update(last_used_at=now)
        request._dont_enforce_csrf_checks = True  # type: ignore[attr-defined]  # Django's own switch: no cookie is used
        if has_nul(request):
            return problem(422, "a NUL character is in no field's value", code="nul_character")
        key = request.headers.get("Idempotency-Key")
        if found is None or key is None or request.method in ("GET", "HEAD", "OPTIONS"):
            return self.get_response(request)
        return self._once(request, found, key, now)

    def _once(self, request: HttpRequest, token: Token, key: str, now: datetime) -> HttpResponse:
        """Answer a key that was answered before with the same; else run the request and keep its answer.

        The key and what the request changes are one transaction: a crash leaves both or neither. Screening writes to
        the ledger, outside of the database; there a crash can leave decisions without the key, and a repetition after
        that decides anew.
        """
        if not 1 <= len(key) <= _MAX_KEY or not key.isascii():
            return problem(400, f"Idempotency-Key: 1 to {_MAX_KEY} ASCII characters", code="bad_idempotency_key")
        request_hash = hashlib.sha256(f"{request.method} {request.get_full_path()}\n".encode() + request.body).digest()
        known = IdempotencyKey.objects.filter(holder=token.ref, key=key).first()
        if known is not None:
            return _repeated(known, request, request_hash, now)
        try:
            if request.path in _WITHOUT_TRANSACTION:
                row = IdempotencyKey.objects.create(
                    holder=token.ref, key=key, request_hash=request_hash, created_at=now
                )
                response = self._kept(row, request, self.get_response(request))
            else:
                with transaction.atomic():
                    row = IdempotencyKey.objects.create(
                        holder=token.ref, key=key, request_hash=request_hash, created_at=now
                    )
                    response = self._kept(row, request, self.get_response(request))
                    if response.status_code >= 500:
                        transaction.set_rollback(True)
        except IntegrityError:  # the same key at the same time
            known = IdempotencyKey.objects.filter(holder=token.ref, key=key).first()
            if known is None:
                raise
            return _repeated(known, request, request_hash, now)
        return response

    @staticmethod
    def _kept(row: IdempotencyKey, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        if response.status_code >= 500 or response.streaming:  # a file is made anew: it changes nothing
            row.delete()
            return response
        row.status, row.response = response.status_code, _sealed(request, response.content)
        row.content_type = response.headers.get("Content-Type", "")[:80]
        row.save(update_fields=("status", "response", "content_type"))
        return response


def has_nul(request: HttpRequest) -> bool:
    """Whether a NUL character comes with it, which PostgreSQL stores nowhere. Messages to screen may hold any text."""
    if "\x00" in request.path or "%00" in request.META.get("QUERY_STRING", ""):
        return True
    if request.path == f"{API_ROOT}screen" or rb"\u0000" not in request.body:
        return False
    try:
        waiting = [json.loads(request.body)]
    except (ValueError, RecursionError):
        return False  # no JSON: refused where it is read
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += [*one, *one.values()]
        elif isinstance(one, list):
            waiting += one
        elif isinstance(one, str) and "\x00" in one:
            return True
    return False


def _sealed(request: HttpRequest, content: bytes) -> bytes:
    """An answer as it is kept. It may hold the secret of a new token or the text of a message, neither of which is to
    stand in the database: it opens with the caller's token and idempotency key only, which are not there either."""
    nonce = os.urandom(12)
    return nonce + AESGCM(_key_of(request)).encrypt(nonce, content, None)


def _opened(request: HttpRequest, kept: bytes) -> bytes:
    return AESGCM(_key_of(request)).decrypt(kept[:12], kept[12:], None)


def _key_of(request: HttpRequest) -> bytes:
    key = f"{_bearer(request)}\n{request.headers.get('Idempotency-Key', '')}"
    return hmac.digest(b"mingbai idempotency 1", key.encode(), "sha256")


def _repeated(known: IdempotencyKey, request: HttpRequest, request_hash: bytes, now: datetime) -> HttpResponse:
    if bytes(known.request_hash) != request_hash:
        return problem(422, "this Idempotency-Key was used for another request", code="idempotency_key_reused")
    if known.status is None:
        if now - known.created_at > _STALE:
            known.delete()
        return problem(409, "the first request with this key is still at work", code="idempotency_in_progress")
    response = HttpResponse(
        _opened(request, bytes(known.response)), content_type=known.content_type, status=known.status
    )
    response.headers["Idempotency-Replayed"] = "true"
    return response


def _bearer(request: HttpRequest) -> str:
    """The secret that came with the request; "" for none."""
    kind, _, secret = request.headers.get("Authorization", "").partition(" ")
    return secret.strip() if kind.lower() == "bearer" else ""


def _token_of(request: HttpRequest, now: datetime) -> Token | None:
    secret = _bearer(request)
    if not secret:
        return None
    found = Token.objects.filter(token_hash=token_hash(secret)).select_related("account").first()
    if found is None or found.revoked_at is not None or found.expires_at <= now or not found.account.is_active:
        return None
    return found
