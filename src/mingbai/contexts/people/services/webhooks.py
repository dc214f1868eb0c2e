"""Webhooks: events told to another system, signed, and tried again until they are taken.

The format is that of the Standard Webhooks specification 1.0: headers `webhook-id`, `webhook-timestamp`,
`webhook-signature: v1,<base64 HMAC-SHA256 of "id.timestamp.body">`, secrets written `whsec_<base64>`. An event is an
entry of the control stream; its id stays the same however often it is sent.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from django.db import transaction

from mingbai.connectors.http_post import NotDelivered, check_url, post
from mingbai.contexts.audit import queries as entries
from mingbai.contexts.audit import services as audit
from mingbai.contexts.people.choices import DeliveryState
from mingbai.contexts.people.models import Delivery, Webhook
from mingbai.kernel.clock import format_utc
from mingbai.kernel.errors import BadValue
from mingbai.ledger import KeyStore

# Seconds until the next try, after the first, second, ... failure; two days and a bit in all. Standard Webhooks
# recommends about these.
PAUSES_S = (5, 60, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000)
TIMEOUT_S = 15.0
_SECRET_BYTES = 32


def create_webhook(
    name: str, url: str, kinds: Sequence[str], *, actor: str, now: datetime, keys: KeyStore, secret: str | None = None
) -> tuple[Webhook, str]:
    """A new webhook, and its secret (shown once). Events from now on are sent. Raises BadValue."""
    check_url(url)
    _check_kinds(kinds)
    if not name.strip() or len(name) > 80:
        raise BadValue(field="name", value=name, expected="1 to 80 characters")
    if Webhook.objects.filter(name=name).exists():
        raise BadValue(field="name", value=name, expected="a name that no other webhook has")
    shown = secret or new_secret()
    with transaction.atomic():
        webhook = Webhook(name=name, url=url, kinds=list(kinds), created_at=now, follows_from=entries.head()[0])
        webhook.secret = _sealed(keys, shown, webhook)
        webhook.save(force_insert=True)
        audit.append(
            "webhook.created",
            actor=actor,
            subject=f"webhook:{webhook.pk}",
            data={"name": name, "kinds": list(kinds)},
            now=now,
        )
    return webhook, shown


def change_webhook(
    webhook: Webhook,
    *,
    actor: str,
    now: datetime,
    url: str | None = None,
    kinds: Sequence[str] | None = None,
    is_active: bool | None = None,
) -> Webhook:
    """Change what is given. Switched on again, it goes on with events from now on. Raises BadValue."""
    changed: dict[str, object] = {}
    with transaction.atomic():
        webhook = Webhook.objects.select_for_update().get(pk=webhook.pk)
        if url is not None and url != webhook.url:
            webhook.url, changed["url"] = check_url(url), True  # the address may hold a secret: only that it changed
        if kinds is not None and list(kinds) != webhook.kinds:
            _check_kinds(kinds)
            webhook.kinds = changed["kinds"] = list(kinds)
        if is_active is not None and is_active != webhook.is_active:
            webhook.is_active = changed["is_active"] = is_active
            if is_active:
                webhook.follows_from = entries.head()[0]
        if changed:
            webhook.save()
            audit.append("webhook.changed", actor=actor, subject=f"webhook:{webhook.pk}", data=changed, now=now)
    return webhook


def delete_webhook(webhook: Webhook, *, actor: str, now: datetime) -> None:
    """Gone, with what was still to be sent."""
    with transaction.atomic():
        audit.append(
            "webhook.deleted", actor=actor, subject=f"webhook:{webhook.pk}", data={"name": webhook.name}, now=now
        )
        webhook.delete()


def queue_deliveries(*, now: datetime) -> int:
    """Turn new entries into deliveries. A webhook and its deliveries move on in one transaction: none twice or lost."""
    queued = 0
    for webhook in Webhook.objects.filter(is_active=True):
        with transaction.atomic():
            locked = Webhook.objects.select_for_update().get(pk=webhook.pk)
            last = locked.follows_from
            for entry in entries.after(locked.follows_from, limit=500):
                last = entry.seq
                if _is_wanted(entry.kind, locked.kinds):
                    body = {
                        "id": str(entry.id),
                        "type": entry.kind,
                        "timestamp": format_utc(entry.at),
                        "seq": entry.seq,
                        "actor": entry.actor,
                        "subject": entry.subject,
                        "data": entry.data,
                    }
                    text = json.dumps(body, ensure_ascii=False, sort_keys=True)
                    Delivery.objects.create(webhook=locked, entry_seq=entry.seq, body=text, next_at=now)
                    queued += 1
            if last != locked.follows_from:
                Webhook.objects.filter(pk=locked.pk).update(follows_from=last)
    return queued


def send_due(keys: KeyStore, *, now: datetime, limit: int = 100, send: Callable[..., int] = post) -> tuple[int, int]:
    """Send what is due, oldest first; returns how many were taken and how many were not.

    One transaction a delivery, after the answer: a crash in between sends an event again, with the same id.
    """
    taken = refused = 0
    due = Delivery.objects.filter(state=DeliveryState.DUE, next_at__lte=now, webhook__is_active=True)
    for delivery in due.select_related("webhook").order_by("entry_seq")[:limit]:
        try:
            status = send(
                delivery.webhook.url,
                delivery.body.encode(),
                headers(delivery, open_secret(keys, delivery.webhook), now=now),
                timeout_s=TIMEOUT_S,
            )
            said = f"answered {status}"
            is_taken, is_final = 200 <= status <= 299, status == 410  # Gone: asks not to be told again
        except NotDelivered as error:
            said, is_taken, is_final = str(error.data["cause"]), False, False
        except BadValue:  # the secret cannot be opened, or the address is one that we no longer post to
            said, is_taken, is_final = "its secret or address cannot be used: make the webhook anew", False, True
        _record(delivery, said[:120], now=now, is_taken=is_taken, is_final=is_final)
        taken, refused = taken + is_taken, refused + (not is_taken)
    return taken, refused


def _record(delivery: Delivery, said: str, *, now: datetime, is_taken: bool, is_final: bool) -> None:
    delivery.attempts += 1
    delivery.last_status = said
    if is_taken:
        delivery.state, delivery.delivered_at = DeliveryState.DELIVERED, now
    elif is_final or delivery.attempts > len(PAUSES_S):
        delivery.state = DeliveryState.FAILED
    else:
        delivery.next_at = now + timedelta(seconds=PAUSES_S[delivery.attempts - 1])
    with transaction.atomic():
        delivery.save()
        if delivery.state == DeliveryState.FAILED:
            data = {"name": delivery.webhook.name, "entry": delivery.entry_seq, "cause": said}
            audit.append(
                "webhook.gave_up", actor="job:webhooks", subject=f"webhook:{delivery.webhook_id}", data=data, now=now
            )


def send_again(delivery: Delivery, *, actor: str, now: datetime) -> None:
    """Put a delivery that was given up back among the due ones."""
    with transaction.atomic():
        Delivery.objects.filter(pk=delivery.pk).update(state=DeliveryState.DUE, attempts=0, next_at=now)
        audit.append(
            "webhook.resent",
            actor=actor,
            subject=f"webhook:{delivery.webhook_id}",
            data={"name": delivery.webhook.name, "entry": delivery.entry_seq},
            now=now,
        )


def headers(delivery: Delivery, secret: str, *, now: datetime) -> dict[str, str]:
    """The headers of one delivery."""
    id, stamp = str(json.loads(delivery.body)["id"]), str(int(now.timestamp()))
    return {
        "Content-Type": "application/json",
        "webhook-id": id,
        "webhook-timestamp": stamp,
        "webhook-signature": signature(secret, id, stamp, delivery.body.encode()),
    }


def signature(secret: str, id: str, timestamp: str, body: bytes) -> str:
    """`v1,<base64>`: HMAC-SHA256 over `id.timestamp.body` (Standard Webhooks 1.0, "Signature scheme")."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, f"{id}.{timestamp}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(mac.digest()).decode()


def new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def _check_kinds(kinds: Sequence[str]) -> None:
    if not kinds or not all(0 < len(kind) <= 64 for kind in kinds):
        raise BadValue(
            field="kinds", value=list(kinds), expected="kinds of entry, such as rulebook.activated or message."
        )


def _is_wanted(kind: str, wanted: Sequence[str]) -> bool:
    return any(kind == one or one == "*" or (one.endswith(".") and kind.startswith(one)) for one in wanted)


def _sealed(keys: KeyStore, secret: str, webhook: Webhook) -> bytes:
    """The secret, encrypted under the ledger's master key: a copy of the database alone does not hold it."""
    return keys.ring.master[-1].id + keys.wrap(secret.encode(), _bound_to(webhook))


def open_secret(keys: KeyStore, webhook: Webhook) -> str:
    """The secret of a webhook. Raises BadValue if the key that it was kept under is gone."""
    kept = bytes(webhook.secret)
    found = keys.unwrap(kept[:8], kept[8:], _bound_to(webhook))
    if found is None:
        raise BadValue(
            field="secret", value="***", expected="the master key under which the webhook was made; make it anew"
        )
    return found.decode()


def _bound_to(webhook: Webhook) -> bytes:
    return f"webhook:{webhook.pk}".encode()
