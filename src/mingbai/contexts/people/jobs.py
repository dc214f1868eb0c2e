"""What is done for people without anybody asking."""

from __future__ import annotations

from datetime import datetime, timedelta

from mingbai.connectors.ledger_access import open_keys
from mingbai.contexts.audit import jobs as audit
from mingbai.contexts.people.models import IdempotencyKey, Webhook
from mingbai.contexts.people.services.data_requests import forget_results, watch_due_dates
from mingbai.contexts.people.services.webhooks import queue_deliveries, send_due
from mingbai.ledger import forget_withheld
from mingbai.settings import Settings

_KEYS_KEPT = timedelta(days=1)


def forget_idempotency_keys(settings: Settings, now: datetime) -> None:
    """A repeated request comes within minutes; after a day its key is somebody else's."""
    IdempotencyKey.objects.filter(created_at__lt=now - _KEYS_KEPT).delete()


def end_old_sessions(settings: Settings, now: datetime) -> None:
    from django.contrib.sessions.models import Session

    Session.objects.filter(expire_date__lt=now).delete()


def deliver_webhooks(settings: Settings, now: datetime) -> None:
    """Queue what is new and send what is due."""
    if Webhook.objects.filter(is_active=True).exists():
        queue_deliveries(now=now)
        send_due(open_keys(settings), now=now)


def serve_data_requests(settings: Settings, now: datetime) -> None:
    """Remind of requests that are due soon, escalate those overdue, forget answers that nobody fetched."""
    watch_due_dates(now=now)
    forget_results(now=now)
    forget_withheld(settings.data, now=now)


JOBS = (
    *audit.JOBS,
    ("data requests", 60.0, serve_data_requests, False),
    ("webhooks", 1.0, deliver_webhooks, True),
    ("forget idempotency keys", 3600.0, forget_idempotency_keys, False),
    ("end old sessions", 3600.0, end_old_sessions, False),
)
