"""The system's own page: do its parts run, how long does the disk last, what is told to others, how to keep a copy."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET, require_POST

from mingbai.connectors.ledger_access import open_keys
from mingbai.connectors.screening_client import ScreeningClient
from mingbai.contexts.audit import queries as audit
from mingbai.contexts.people.choices import DeliveryState
from mingbai.contexts.people.models import Delivery, Webhook
from mingbai.contexts.people.policy import Action
from mingbai.contexts.people.rights import RequestWithRights, requires
from mingbai.contexts.people.services import webhooks
from mingbai.contexts.people.views.shared import attempt
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import MingbaiError

PARTS = {
    "web": gettext_lazy("Pages and API"),
    "worker": gettext_lazy("Jobs"),
    "screener": gettext_lazy("Screener"),
}
JOBS = {
    "index the ledger": gettext_lazy("indexing the ledger"),
    "pulse": gettext_lazy("live figures"),
    "exceptions": gettext_lazy("exceptions"),
    "disk forecast": gettext_lazy("disk forecast"),
    "follow the ledger for review": gettext_lazy("bringing messages to the review desk"),
    "deadlines of held messages": gettext_lazy("deadlines of held messages"),
    "return leases": gettext_lazy("taking messages back from those who left"),
    "keep the rulebook in force": gettext_lazy("keeping the rulebook in force"),
    "carry out replays": gettext_lazy("replays"),
    "keep the model in force": gettext_lazy("keeping the model in force"),
    "carry out model runs": gettext_lazy("learning and comparing models"),
    "gather shadow counts": gettext_lazy("counting the shadow model"),
    "measure drift": gettext_lazy("measuring drift"),
    "keep the gateway's registry in force": gettext_lazy("keeping the gateway's accounts and routes in force"),
    "carry orders to the gateway": gettext_lazy("carrying orders to the gateway"),
    "anchor heads": gettext_lazy("signing the ledger"),
    "data requests": gettext_lazy("requests about own data"),
    "webhooks": gettext_lazy("webhooks"),
    "forget idempotency keys": gettext_lazy("forgetting old requests of the API"),
    "end old sessions": gettext_lazy("ending old sessions"),
}
_ALARM_DAYS = 14
_SHOWN_DELIVERIES = 20


class WebhookForm(forms.Form):
    name = forms.CharField(label=gettext_lazy("Name"), max_length=80)
    url = forms.CharField(
        label=gettext_lazy("Address"),
        max_length=500,
        help_text=gettext_lazy("https://…; http:// to this machine only."),
    )
    kinds = forms.CharField(
        label=gettext_lazy("Events"),
        initial="rulebook. message.freed disk.",
        help_text=gettext_lazy("Kinds of entry, with spaces between; a dot at the end means all that begin so."),
    )


@requires(Action.MANAGE_SYSTEM)
@require_GET
def system(request: RequestWithRights) -> HttpResponse:
    data = settings.MINGBAI.data
    parts, status, disk = _parts(data), _screener(data), _run_file(data, "disk.json")
    days_left = disk.get("days_left") if disk else None
    is_disk_low = days_left is not None and days_left < _ALARM_DAYS
    failed = Delivery.objects.filter(state=DeliveryState.FAILED).count()
    problems = [
        *(_("%(part)s does not run") % {"part": part["label"]} for part in parts if not part["is_running"]),
        *([_("The screener does not answer")] if status is None else []),
        *(_("A job fails: %(job)s") % {"job": JOBS.get(name, name)} for name in _run_file(data, "jobs.json") or {}),
        *([_("The disk is filling up")] if is_disk_low else []),
        *([_("Deliveries to webhooks were given up: %(count)s") % {"count": failed}] if failed else []),
    ]
    context: dict[str, Any] = {  # Any: what templates take
        "now": utc_now(),
        "parts": parts,
        "status": status,
        "disk": disk,
        "is_disk_low": is_disk_low,
        "problems": problems,
        "hooks": [_shown(hook) for hook in Webhook.objects.all()],
        "deliveries": Delivery.objects.exclude(state=DeliveryState.DELIVERED)
        .select_related("webhook")
        .order_by("-entry_seq")[:_SHOWN_DELIVERIES],
        "form": WebhookForm(),
        "secret": request.session.pop("webhook_secret", ""),
        "head": audit.head()[0],
        "kept": settings.MINGBAI.ledger,
        "is_postgresql": settings.MINGBAI.database_url is not None,
    }
    return render(request, "people/system.html", context)


@requires(Action.MANAGE_SYSTEM)
@require_POST
def webhook_new(request: RequestWithRights) -> HttpResponse:
    form = WebhookForm(request.POST)
    if form.is_valid():
        given = form.cleaned_data
        made = attempt(
            request,
            lambda: webhooks.create_webhook(
                given["name"],
                given["url"],
                given["kinds"].split(),
                actor=request.user.ref,
                now=utc_now(),
                keys=open_keys(settings.MINGBAI),
            ),
            _("The webhook is made. Its secret is shown this once."),
        )
        if made is not None:
            request.session["webhook_secret"] = made[1]
    return redirect("system")


@requires(Action.MANAGE_SYSTEM)
@require_POST
def webhook_switch(request: RequestWithRights, id: UUID) -> HttpResponse:
    hook = _found(id)
    attempt(
        request,
        lambda: webhooks.change_webhook(hook, actor=request.user.ref, now=utc_now(), is_active=not hook.is_active),
        _("The webhook is changed."),
    )
    return redirect("system")


@requires(Action.MANAGE_SYSTEM)
@require_POST
def webhook_delete(request: RequestWithRights, id: UUID) -> HttpResponse:
    hook = _found(id)
    attempt(
        request,
        lambda: webhooks.delete_webhook(hook, actor=request.user.ref, now=utc_now()),
        _("The webhook is gone."),
    )
    return redirect("system")


@requires(Action.MANAGE_SYSTEM)
@require_POST
def delivery_again(request: RequestWithRights, id: UUID) -> HttpResponse:
    delivery = Delivery.objects.filter(pk=id).select_related("webhook").first()
    if delivery is None:
        raise Http404
    attempt(
        request,
        lambda: webhooks.send_again(delivery, actor=request.user.ref, now=utc_now()),
        _("It is sent again."),
    )
    return redirect("system")


def _found(id: UUID) -> Webhook:
    hook = Webhook.objects.filter(pk=id).first()
    if hook is None:
        raise Http404
    return hook


def _shown(hook: Webhook) -> dict[str, Any]:  # Any: what templates take
    from urllib.parse import urlsplit

    last = hook.deliveries.filter(state=DeliveryState.DELIVERED).order_by("-delivered_at").first()
    return {
        "row": hook,
        "host": urlsplit(hook.url).hostname or "",
        "due": hook.deliveries.filter(state=DeliveryState.DUE).count(),
        "failed": hook.deliveries.filter(state=DeliveryState.FAILED).count(),
        "last": last.delivered_at if last is not None else None,
    }


def _parts(data: Path) -> list[dict[str, Any]]:  # Any: what templates take
    """The processes of `mingbai serve`, as its supervisor notes them."""
    pids = _run_file(data, "parts.json") or {}
    return [
        {"label": label, "pid": pids.get(name), "is_running": _runs(pids.get(name))} for name, label in PARTS.items()
    ]


def _runs(pid: object) -> bool:
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _screener(data: Path) -> dict[str, Any] | None:  # Any: JSON, see ScreeningClient.status
    client = ScreeningClient(data, timeout_s=2.0)
    try:
        status = client.status()
    except (MingbaiError, OSError):
        return None
    finally:
        client.close()
    begun = status.get("started_at")
    status["since"] = datetime.fromisoformat(begun) if isinstance(begun, str) else None
    return status


def _run_file(data: Path, name: str) -> dict[str, Any] | None:  # Any: JSON
    try:
        found: dict[str, Any] = json.loads((data / "run" / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found


urlpatterns = [
    path("system/", system, name="system"),
    path("system/webhooks/", webhook_new, name="webhook_new"),
    path("system/webhooks/<uuid:id>/switch/", webhook_switch, name="webhook_switch"),
    path("system/webhooks/<uuid:id>/delete/", webhook_delete, name="webhook_delete"),
    path("system/deliveries/<uuid:id>/again/", delivery_again, name="delivery_again"),
]
