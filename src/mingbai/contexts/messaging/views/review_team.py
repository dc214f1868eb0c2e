"""The team lead's pages of the review desk: backlog, people, agreement, gold, disagreements, whole campaigns."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from mingbai.contexts.messaging import policy
from mingbai.contexts.messaging.models import ItemKind
from mingbai.contexts.messaging.queries import review as queries
from mingbai.contexts.messaging.queries import traffic
from mingbai.contexts.messaging.queries.read_ahead import open_message
from mingbai.contexts.messaging.services import review_queue
from mingbai.contexts.messaging.services import review_team as team_services
from mingbai.contexts.messaging.services.review import NothingToUndo
from mingbai.contexts.people.models import Account
from mingbai.contexts.people.policy import Action, Reach
from mingbai.contexts.people.queries import account_called, rights_of
from mingbai.contexts.people.rights import RequestWithRights, requires
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import BadValue
from mingbai.kernel.masking import masked
from mingbai.kernel.verdicts import Category, Verdict

WINDOWS = (1, 7, 30)


def kind_word(kind: str) -> str:
    return str(ItemKind(kind).label) if kind in ItemKind.values else kind


def strength_word(strength: str) -> str:
    """The words of Landis and Koch for a kappa."""
    return {
        "poor": _("poor"),
        "slight": _("slight"),
        "fair": _("fair"),
        "moderate": _("moderate"),
        "substantial": _("substantial"),
        "almost_perfect": _("almost perfect"),
    }.get(strength, "")


@requires(Action.LEAD_REVIEW)
@require_GET
def team(request: RequestWithRights) -> HttpResponse:
    """Is the desk keeping up, and do people judge alike?"""
    given = request.GET.get("days", "7")
    days = int(given) if given in {str(window) for window in WINDOWS} else 7
    now = utc_now()
    found = queries.team(now, days)
    may_act = request.rights.may(Action.DECIDE_CAMPAIGN)
    may_text = request.rights.may(Action.SEE_TEXT)
    context = {
        "now": now,
        "days": days,
        "windows": WINDOWS,
        "team": found,
        "strength": strength_word(found.kappa.strength),
        "people": [{"person": person, "strength": strength_word(person.agreement.strength)} for person in found.people],
        "pairs": [{"pair": pair, "strength": strength_word(pair.kappa.strength)} for pair in found.pairs[:20]],
        "disagreements": [_disagreement(second, may_text=may_text) for second in found.disagreements]
        if may_act
        else [],
        "disagreement_count": len(found.disagreements),
        "answers": _answers(),
        "may_act": may_act,
        "recent": [_recent(decision) for decision in queries.recently_decided()] if may_act else [],
        "colleagues": _colleagues(found) if may_act else [],
        "hours": [hour for hour, _count in found.per_hour],
        "speed": [{"label": _("Decisions"), "values": [count for _hour, count in found.per_hour]}],
        "undoable": {
            whole.pk
            for whole in found.campaigns
            if whole.undone_at is None and (now - whole.at).total_seconds() < team_services.CAMPAIGN_UNDO_S
        },
    }
    return render(request, "messaging/review_team.html", context)


def _answers() -> list[dict[str, Any]]:  # Any: what the template shows
    return [
        {"answer": key.answer, "verdict": verdict, "category": category}
        for key, (verdict, category) in ((key, policy.parse_answer(key.answer)) for key in policy.KEYS)
    ]


def _disagreement(second: Any, *, may_text: bool) -> dict[str, Any]:  # Any: a ReviewDecision with its first
    opened = open_message(second.item)
    text = opened.text or ""
    return {
        "second": second,
        "first": second.item.first,
        "text": text if may_text else masked(text),
        "not_kept": "" if opened.text is not None else traffic.kept_words(opened.text_kept),
    }


def _recent(decision: Any) -> dict[str, Any]:  # Any: a ReviewDecision with its item
    text = open_message(decision.item).text or ""
    return {"decision": decision, "text": masked(text)[:120]}


def _colleagues(found: queries.Team) -> list[Account]:
    known = {row.holder.pk: row.holder for row in found.leases if row.holder is not None}
    known |= {person.account.pk: person.account for person in found.people}
    return sorted(known.values(), key=str)


@requires(Action.DECIDE_CAMPAIGN)
@require_POST
def return_lease(request: RequestWithRights) -> HttpResponse:
    try:
        review_queue.return_lease(_item(request), actor=request.user.ref, now=utc_now())
        messages.success(request, _("It is back in its queue."))
    except review_queue.LeaseLost:
        messages.warning(request, _("Nobody holds this message any more."))
    return redirect("review_lead")


@requires(Action.DECIDE_CAMPAIGN)
@require_POST
def reassign(request: RequestWithRights) -> HttpResponse:
    to = account_called(request.POST.get("to", ""))
    if to is None or not to.is_active or not rights_of(to).may(Action.REVIEW):
        raise BadValue(field="to", value=request.POST.get("to", "")[:64], expected="the username of a reviewer")
    try:
        team_services.reassign(_item(request), to, request.user, now=utc_now(), review=_settings())
        messages.success(request, _("%(name)s gets it next.") % {"name": to})
    except review_queue.LeaseLost:
        messages.warning(request, _("This message is decided already."))
    return redirect("review_lead")


@requires(Action.DECIDE_CAMPAIGN)
@require_POST
def settle(request: RequestWithRights) -> HttpResponse:
    """The lead's word on a disagreement."""
    verdict, category = policy.parse_answer(request.POST.get("answer", ""))
    try:
        team_services.settle(
            _uuid(request, "decision"), verdict, category, request.user,
            now=utc_now(), note=request.POST.get("note", ""),
        )  # fmt: skip
        messages.success(request, _("Settled. Both reviewers' answers stay as they were given."))
    except NothingToUndo:
        messages.warning(request, _("This disagreement is settled already."))
    return redirect("review_lead")


@requires(Action.DECIDE_CAMPAIGN)
@require_POST
def make_gold(request: RequestWithRights) -> HttpResponse:
    verdict, category = policy.parse_answer(request.POST.get("answer", ""))
    team_services.make_gold(
        _uuid(request, "message"), verdict, category, request.user, now=utc_now(), note=request.POST.get("note", "")
    )
    messages.success(request, _("It is a gold message now, and no longer training data."))
    return redirect("review_lead")


@requires(Action.DECIDE_CAMPAIGN)
@require_POST
def retire_gold(request: RequestWithRights) -> HttpResponse:
    team_services.retire_gold(_uuid(request, "gold"), request.user, now=utc_now())
    messages.success(request, _("It is given to nobody any more."))
    return redirect("review_lead")


@requires(Action.DECIDE_CAMPAIGN)
@require_http_methods(["GET", "POST"])
def campaign(request: RequestWithRights, campaign: str) -> HttpResponse:
    """How many messages a decision on the whole campaign reaches; then, that decision."""
    reach = request.rights.reach(Action.DECIDE_CAMPAIGN) or Reach()
    if request.method == "POST":
        try:
            whole = team_services.decide_campaign(
                request.POST.get("token", ""), request.user, now=utc_now(), reach=reach
            )
        except team_services.PreviewInvalid:
            messages.warning(request, _("This preview is no longer valid. Look at the numbers again."))
            return redirect("review_campaign", campaign=campaign)
        text = ngettext("%(n)s message decided.", "%(n)s messages decided.", whole.items) % {"n": whole.items}
        messages.success(request, text)
        return redirect("review_lead")
    given = request.GET.get("answer", "")
    try:
        verdict, category = policy.parse_answer(given) if given else (Verdict.BLOCK, Category.FRAUD)
        preview = team_services.preview_campaign(campaign, verdict, category, request.user, reach=reach)
    except BadValue as error:
        if error.data["field"] == "campaign":
            raise Http404 from error
        raise
    context = {"preview": preview, "answers": _answers(), "is_chosen": bool(given), "now": utc_now()}
    return render(request, "messaging/review_campaign.html", context)


@requires(Action.DECIDE_CAMPAIGN)
@require_POST
def undo_campaign(request: RequestWithRights) -> HttpResponse:
    try:
        n = team_services.undo_campaign(_uuid(request, "decision"), request.user, now=utc_now())
        text = ngettext("%(n)s message waits again.", "%(n)s messages wait again.", n) % {"n": n}
        messages.success(request, text)
    except NothingToUndo:
        messages.warning(request, _("This decision cannot be undone any more."))
    return redirect("review_lead")


def _settings() -> Any:  # Any: ReviewSettings, from an untyped module of Django's
    return traffic.installed_settings().review


def _item(request: HttpRequest) -> int:
    given = request.POST.get("item", "")
    if not given.isdigit() or len(given) > 18:
        raise BadValue(field="item", value=given[:40], expected="the number of an item")
    return int(given)


def _uuid(request: HttpRequest, field: str) -> UUID:
    try:
        return UUID(request.POST.get(field, ""))
    except ValueError:
        raise BadValue(field=field, value=request.POST.get(field, "")[:40], expected="a UUID") from None


urlpatterns = [
    path("review/team/", team, name="review_lead"),
    path("review/team/return/", return_lease, name="review_return"),
    path("review/team/reassign/", reassign, name="review_reassign"),
    path("review/team/settle/", settle, name="review_settle"),
    path("review/team/gold/", make_gold, name="review_gold"),
    path("review/team/gold/retire/", retire_gold, name="review_gold_retire"),
    path("review/campaign/<str:campaign>/", campaign, name="review_campaign"),
    path("review/team/campaign/undo/", undo_campaign, name="review_campaign_undo"),
]
