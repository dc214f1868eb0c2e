"""The review desk: one message, one key, the next one. Works by forms alone; htmx swaps the desk without a new page."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.signals import user_logged_out
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import get_language, gettext_lazy
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from mingbai.connectors.screening_client import ScreenerUnavailable
from mingbai.contexts.messaging import policy
from mingbai.contexts.messaging.models import ReviewDecision, ReviewItem
from mingbai.contexts.messaging.queries import review as queries
from mingbai.contexts.messaging.queries import traffic
from mingbai.contexts.messaging.queries.read_ahead import open_message
from mingbai.contexts.messaging.services import review as services
from mingbai.contexts.messaging.services import review_queue
from mingbai.contexts.messaging.services.freeing import DEFAULT_DAYS
from mingbai.contexts.messaging.views import review_team
from mingbai.contexts.messaging.words import WHY_NOT_FREED
from mingbai.contexts.people.models import Account
from mingbai.contexts.people.policy import Action, Reach
from mingbai.contexts.people.rights import RequestWithRights, requires
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import BadValue
from mingbai.kernel.verdicts import Category

WHY_LOST = {
    "returned": gettext_lazy(
        "You had this message for too long, and it went back to its queue. Your answer was not recorded."
    ),
    "rule": gettext_lazy("Its time was over and its class's rule decided. Your answer was not recorded."),
    "campaign": gettext_lazy("A decision on its whole campaign came first. Your answer was not recorded."),
    "decided": gettext_lazy("Somebody else has decided this message. Your answer was not recorded."),
    "gone": gettext_lazy("This message is not here any more. Your answer was not recorded."),
}
WHY_NOT_UNDONE = {
    "none": gettext_lazy("There is nothing to undo."),
    "too_late": gettext_lazy("Your last decision is too long ago to be undone."),
    "acted": gettext_lazy("The message was sent already; the decision cannot be undone."),
    "second": gettext_lazy("A second person has answered already; the decision cannot be undone."),
    "deadline": gettext_lazy("The time of this message is over; the decision cannot be undone."),
}


@cache
def _keys(language: str) -> str:
    """The answers with their keys: the same for every message, so that they are made once a language."""
    answers = ((key, policy.parse_answer(key.answer)) for key in policy.KEYS)
    keys = [
        {"key": key.key, "answer": key.answer, "verdict": verdict, "category": category}
        for key, (verdict, category) in answers
    ]
    return render_to_string("messaging/review_keys.html", {"keys": keys})


@requires(Action.REVIEW)
@require_GET
def page(request: RequestWithRights) -> HttpResponse:
    """The message that one holds, or the queues to choose from. Taking one is a POST: a look changes nothing."""
    return _answer(request, queries.held_by(request.user), queue=_queue(request))


@requires(Action.REVIEW)
@require_POST
def take(request: RequestWithRights) -> HttpResponse:
    item = review_queue.take(
        request.user, now=utc_now(), review=_settings(), reach=_reach(request), queue=_queue(request)
    )
    return _answer(request, item, queue=_queue(request), is_empty=item is None)


@requires(Action.REVIEW)
@require_POST
def decide(request: RequestWithRights) -> HttpResponse:
    """Decide, and answer with the next message."""
    item_id, lease = _held(request)
    verdict, category = policy.parse_answer(request.POST.get("answer", ""))
    answer = services.Answer(verdict, category, request.POST.get("note", ""), "second" in request.POST)
    queue = _queue(request)
    try:
        decision, following = services.decide_and_take(
            item_id, request.user, lease, answer,
            now=utc_now(), review=_settings(), reach=_reach(request), queue=queue,
        )  # fmt: skip
    except review_queue.LeaseLost as error:
        return _after(request, str(WHY_LOST[str(error.data["why"])]), "warn")
    except BadValue as error:
        if error.data.get("field") != "note":
            raise
        kept = queries.item_of(item_id, request.user)
        note = _("Write a reason for the appellant first, at least 5 characters.")
        return _answer(request, kept, queue=queue, note=note, kind="bad", status=422)
    except ScreenerUnavailable:
        kept = queries.item_of(item_id, request.user)
        note = _("The screener does not answer, and without it nobody can say what the exception is. Try again.")
        return _answer(request, kept, queue=queue, note=note, kind="bad", status=422)
    done = {"verdict": verdict, "category": category}
    note, kind = _freed_words(decision)
    return _answer(request, following, queue=queue, done=done, note=note, kind=kind, is_empty=following is None)


@requires(Action.REVIEW)
@require_POST
def skip(request: RequestWithRights) -> HttpResponse:
    item_id, lease = _held(request)
    try:
        review_queue.skip(item_id, request.user, lease, now=utc_now())
    except review_queue.LeaseLost as error:
        return _after(request, str(WHY_LOST[str(error.data["why"])]), "warn")
    return _after(request, _("Skipped: somebody else gets it."))


@requires(Action.REVIEW)
@require_POST
def undo(request: RequestWithRights) -> HttpResponse:
    try:
        item = services.undo(request.user, now=utc_now(), review=_settings())
    except services.NothingToUndo as error:
        held = queries.held_by(request.user)
        return _answer(
            request, held, queue=_queue(request), note=str(WHY_NOT_UNDONE[str(error.data["why"])]), kind="warn"
        )
    return _answer(request, item, queue=_queue(request), note=_("Undone. Decide it again."))


@requires(Action.REVIEW)
@require_POST
def leave(request: RequestWithRights) -> HttpResponse:
    """Stop working: what one holds goes back at once."""
    review_queue.return_leases_of(request.user, now=utc_now())
    return _answer(request, None, queue="")


@requires(Action.REVIEW)
@require_POST
def keep(request: RequestWithRights) -> HttpResponse:
    """The page says that somebody still looks at it."""
    item_id, lease = _held(request)
    is_kept = review_queue.renew(item_id, request.user, lease, now=utc_now(), review=_settings())
    return HttpResponse(status=204 if is_kept else 286)  # 286: htmx stops asking


@requires(Action.REVIEW)
@require_GET
def reading(request: RequestWithRights, item_id: int) -> HttpResponse:
    """What the engine reads in the message one holds, by the policy in force now."""
    item = queries.item_of(item_id, request.user)
    if item is None:
        return render(request, "messaging/review_reading.html", {"is_gone": True})
    opened = open_message(item)
    if not opened.text:
        return render(request, "messaging/review_reading.html", {"is_gone": True})
    try:
        found = traffic.client().explain(
            opened.text, sender=opened.sender or None, access_code=item.access_code or None, time=item.at
        )
    except ScreenerUnavailable:
        return render(request, "messaging/review_reading.html", {"is_down": True})
    return render(request, "messaging/review_reading.html", {"found": found, "text": opened.text})


# -- within


def _freed_words(decision: ReviewDecision) -> tuple[str, str]:
    """What an answer to an appeal does, and how the notice looks."""
    appeal = queries.appeal_answered(decision)
    if appeal is None or not appeal.is_upheld:
        return "", "info"
    if not appeal.no_exception:
        return _("Exactly this message passes from now on, for %(days)s days.") % {"days": DEFAULT_DAYS}, "info"
    why = WHY_NOT_FREED[appeal.no_exception]
    return _("The answer stands, and no exception was made: %(why)s") % {"why": why}, "warn"


def _settings() -> Any:  # Any: ReviewSettings, from an untyped module of Django's
    return traffic.installed_settings().review


def _reach(request: RequestWithRights) -> Reach:
    return request.rights.reach(Action.REVIEW) or Reach()


def _queue(request: HttpRequest) -> str:
    """The queue that was chosen; what is no queue is everything."""
    given = request.POST.get("queue", request.GET.get("queue", ""))
    parts = given.split(".")
    is_known = parts[0] in policy.PRIORITY and all(part in policy.CATEGORIES for part in parts[1:2])
    return given if is_known and len(parts) <= 3 else ""


def _held(request: HttpRequest) -> tuple[int, UUID]:
    """Item and lease of a form. Raises BadValue."""
    try:
        return int(request.POST.get("item", "")), UUID(request.POST.get("lease", ""))
    except ValueError:
        raise BadValue(
            field="lease", value=request.POST.get("lease", "")[:40], expected="the lease of a message"
        ) from None


def _after(request: RequestWithRights, note: str, kind: str = "info") -> HttpResponse:
    """The next message, with a word about the last one."""
    queue = _queue(request)
    item = review_queue.take(request.user, now=utc_now(), review=_settings(), reach=_reach(request), queue=queue)
    return _answer(request, item, queue=queue, note=note, kind=kind, is_empty=item is None)


def _answer(
    request: RequestWithRights,
    item: ReviewItem | None,
    *,
    queue: str,
    note: str = "",
    kind: str = "info",
    done: Mapping[str, object] | None = None,
    is_empty: bool = False,
    status: int = 200,
) -> HttpResponse:
    """The desk: a fragment for htmx, a page for a look, a redirect after a form without htmx."""
    is_fragment = bool(request.headers.get("HX-Request"))
    if request.method == "POST" and not is_fragment and status == 200:
        if note:
            messages.add_message(request, messages.WARNING if kind == "warn" else messages.INFO, note)
        return redirect(f"{reverse('review')}?queue={queue}" if queue else reverse("review"))
    now = utc_now()
    context = {
        "now": now,
        "queue": queue,
        "queue_words": _queue_words(queue),
        "note": note,
        "note_kind": kind,
        "done": done,
        "today": _today(request, now, is_one_more=done is not None),
        "can_undo": done is not None or queries.can_undo(request.user, now, services.UNDO_S),
        "may_campaign": request.rights.may(Action.DECIDE_CAMPAIGN),
    }
    if item is not None:
        context |= {
            "desk": queries.desk(item),
            "keys": _keys(get_language() or ""),
            "held": _held_fields(item),
            "keep_s": max(5, _settings().lease_s // 3),
        }
    else:
        queues = queries.backlog(fresh=is_empty)
        context |= {"queues": queues, "is_empty": is_empty, "waiting": sum(one.waiting for one in queues)}
    if not is_fragment:
        return render(request, "messaging/review.html", context, status=status)
    # Without the request: a fragment needs nothing of what every page knows (navigation, messages), only the token.
    context["csrf_token"] = get_token(request)
    return HttpResponse(render_to_string("messaging/review_desk.html", context), status=status)


def _held_fields(item: ReviewItem) -> SafeString:
    """What each form about a message says of it."""
    return format_html(
        '<input type="hidden" name="item" value="{}"><input type="hidden" name="lease" value="{}">',
        item.pk, item.lease,
    )  # fmt: skip


def _today(request: RequestWithRights, now: datetime, *, is_one_more: bool) -> int:
    """Decided today: counted, or one more than the desk showed before (it is a courtesy, and a question less)."""
    shown = request.POST.get("today", "")
    if is_one_more and shown.isdecimal() and len(shown) < 7:
        return int(shown) + 1
    return queries.decided_today(request.user, now)


def _queue_words(queue: str) -> dict[str, Any] | None:  # Any: what the template shows
    if not queue:
        return None
    kind, _dot, rest = queue.partition(".")
    category = rest.partition(".")[0]
    return {
        "kind": review_team.kind_word(kind),
        "category": Category[category.upper()] if category else None,
    }


def _signed_out(sender: object, user: Any = None, **_more: object) -> None:  # Any: what Django sends
    if isinstance(user, Account):
        review_queue.return_leases_of(user, now=utc_now())


user_logged_out.connect(_signed_out, dispatch_uid="mingbai.review.signed_out")

urlpatterns = [
    path("review/", page, name="review"),
    path("review/take/", take, name="review_take"),
    path("review/decide/", decide, name="review_decide"),
    path("review/skip/", skip, name="review_skip"),
    path("review/undo/", undo, name="review_undo"),
    path("review/leave/", leave, name="review_leave"),
    path("review/keep/", keep, name="review_keep"),
    path("review/reading/<int:item_id>/", reading, name="review_reading"),
    *review_team.urlpatterns,
]
