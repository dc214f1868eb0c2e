"""Requests about own data: the subscriber's page, and the administrators' work list with its due dates."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings as django_settings
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from mingbai.connectors.subscriber_record import kept_until
from mingbai.contexts.people import queries
from mingbai.contexts.people.choices import RequestKind, RequestState
from mingbai.contexts.people.models import DataRequest
from mingbai.contexts.people.policy import Action
from mingbai.contexts.people.rights import RequestWithRights, requires
from mingbai.contexts.people.services import data_requests as services
from mingbai.contexts.people.views.shared import attempt, tabs
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import MingbaiError
from mingbai.kernel.masking import masked_number


@requires(Action.ASK_ABOUT_OWN_DATA)
@require_GET
def my_data(request: RequestWithRights) -> HttpResponse:
    """What I asked for, by when I get it, what is ready; and asking."""
    settings, now = django_settings.MINGBAI, utc_now()
    context = {
        "requests": request.user.data_requests.defer("result").order_by("-created_at"),
        "kinds": RequestKind.choices,
        "open_kinds": set(request.user.data_requests.filter(state=RequestState.OPEN).values_list("kind", flat=True)),
        "days": settings.review.request_days,
        "number": masked_number(request.user.number),
        "kept": settings.ledger,
        "kept_until": kept_until(settings, now=now),
        "now": now,
    }
    return render(request, "people/my_data.html", context)


@requires(Action.ASK_ABOUT_OWN_DATA)
@require_POST
def my_data_ask(request: RequestWithRights) -> HttpResponse:
    days = django_settings.MINGBAI.review.request_days
    kind, note = request.POST.get("kind", ""), request.POST.get("note", "")
    attempt(
        request,
        lambda: services.ask(request.user, kind, note=note, now=utc_now(), due_days=days),
        _("Your request has arrived."),
    )
    return redirect("my_data")


@requires(Action.ASK_ABOUT_OWN_DATA)
@require_POST
def my_data_fetch(request: RequestWithRights, id: UUID) -> HttpResponse:
    """The answer, as a file. By POST, as it leaves an entry."""
    found = DataRequest.objects.filter(pk=id, account=request.user).first()
    if found is None:
        raise Http404
    try:
        content = services.fetch(found, actor=request.user.ref, now=utc_now())
    except MingbaiError as error:
        raise Http404 from error
    response = HttpResponse(content, content_type="application/zip")
    response.headers["Content-Disposition"] = 'attachment; filename="mingbai-my-data.zip"'
    return response


# -- administrators


@requires(Action.ANSWER_DATA_REQUESTS)
@require_GET
def data_requests(request: RequestWithRights) -> HttpResponse:
    """What waits, the most urgent first, then what was answered."""
    state = request.GET.get("state", RequestState.OPEN)
    if state not in ("all", *RequestState.values):
        raise Http404
    now = utc_now()
    context = {
        "tabs": tabs(request, "data_requests"),
        "requests": queries.data_requests("" if state == "all" else state)[:200],
        "state": state,
        "states": RequestState.choices,
        "overdue": queries.overdue_data_requests(now).count(),
        "open": queries.open_data_requests(),
        "now": now,
    }
    return render(request, "people/data_requests.html", context)


@requires(Action.ANSWER_DATA_REQUESTS)
@require_GET
def data_request(request: RequestWithRights, id: UUID) -> HttpResponse:
    """One request: who asks for what, and the two ways to answer."""
    found = _found(id)
    now = utc_now()
    context = {
        "tabs": tabs(request, "data_requests"),
        "found": found,
        "is_erasure": found.kind == RequestKind.ERASURE,
        "number": masked_number(found.account.number),
        "kept_until": kept_until(django_settings.MINGBAI, now=now),
        "now": now,
    }
    return render(request, "people/data_request.html", context)


@requires(Action.ANSWER_DATA_REQUESTS)
@require_POST
def data_request_answer(request: RequestWithRights, id: UUID) -> HttpResponse:
    """`act`: do (what was asked for) or refuse (with a reason)."""
    found = _found(id)
    actor, now = request.user.ref, utc_now()
    if request.POST.get("act") == "do":
        attempt(
            request,
            lambda: services.answer(found, django_settings.MINGBAI, actor=actor, now=now),
            _("Answered."),
        )
    elif request.POST.get("act") == "refuse":
        reason = request.POST.get("reason", "")
        attempt(request, lambda: services.refuse(found, reason=reason, actor=actor, now=now), _("Refused."))
    else:
        raise Http404
    return redirect("data_request", id=found.pk)


def _found(id: UUID) -> DataRequest:
    found = queries.data_requests().filter(pk=id).first()
    if found is None:
        raise Http404
    return found


urlpatterns = [
    path("my-data/", my_data, name="my_data"),
    path("my-data/ask/", my_data_ask, name="my_data_ask"),
    path("my-data/<uuid:id>/fetch/", my_data_fetch, name="my_data_fetch"),
    path("people/requests/", data_requests, name="data_requests"),
    path("people/requests/<uuid:id>/", data_request, name="data_request"),
    path("people/requests/<uuid:id>/answer/", data_request_answer, name="data_request_answer"),
]
