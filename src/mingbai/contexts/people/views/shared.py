"""What the pages about people share: who acts, how an error is said, whom one may see."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest
from django.urls import reverse
from django.utils.translation import gettext_lazy

from mingbai.contexts.audit.words import said
from mingbai.contexts.people import queries
from mingbai.contexts.people.models import Account, Unit
from mingbai.contexts.people.policy import Action
from mingbai.contexts.people.rights import RequestWithRights
from mingbai.contexts.people.services.roles import Within
from mingbai.kernel.errors import MingbaiError

T = TypeVar("T")

_WORDS = {
    "own_rights": gettext_lazy("Nobody changes their own rights: ask another administrator."),
    "last_administrator": gettext_lazy("This is the last administrator who can sign in. Make another one first."),
    "two_people": gettext_lazy(
        "You have just done the other half. A new password and new second factors need two administrators."
    ),
    "request_closed": gettext_lazy("This request was answered already."),
    "invitation_invalid": gettext_lazy("This link is not valid any more."),
}


def words_of(error: MingbaiError) -> str:
    """An error of the house for the screen."""
    if error.code in _WORDS:
        return str(_WORDS[error.code])
    return said(error)


def attempt(request: HttpRequest, work: Callable[[], T], done: str) -> T | None:
    """Do one thing and say that it is done, or why not."""
    try:
        found = work()
    except MingbaiError as error:
        messages.error(request, words_of(error))
        return None
    messages.success(request, done)
    return found


def visible_account(request: RequestWithRights, id: UUID) -> Account:
    """404 for an account that does not exist or lies outside of what the person may see."""
    account = queries.accounts_within(request.rights, Action.SEE_PEOPLE).filter(pk=id).first()
    if account is None:
        raise Http404
    return account


def managed_account(request: RequestWithRights, id: UUID) -> Account:
    """As `visible_account`, for changing it."""
    account = queries.accounts_within(request.rights, Action.MANAGE_PEOPLE).filter(pk=id).first()
    if account is None:
        raise Http404
    return account


def within(request: RequestWithRights) -> Within:
    """Units that the person may give rights for; None: all."""
    return queries.units_within(request.rights.reach(Action.MANAGE_PEOPLE))


def manages_all(request: RequestWithRights) -> bool:
    reach = request.rights.reach(Action.MANAGE_PEOPLE)
    return reach is not None and reach.is_all


def units_offered(request: RequestWithRights) -> list[Unit]:
    return [row.unit for row in queries.unit_tree(queries.units_within(request.rights.reach(Action.MANAGE_PEOPLE)))]


def link_of(request: HttpRequest, secret: str) -> str:
    return request.build_absolute_uri(reverse("welcome", args=[secret]))


PEOPLE_TABS = (
    ("people", gettext_lazy("Accounts"), Action.SEE_PEOPLE),
    ("people_teams", gettext_lazy("Teams"), Action.SEE_PEOPLE),
    ("people_units", gettext_lazy("Units"), Action.SEE_PEOPLE),
    ("people_matrix", gettext_lazy("Rights"), Action.SEE_PEOPLE),
    ("data_requests", gettext_lazy("Requests"), Action.ANSWER_DATA_REQUESTS),
)


def tabs(request: RequestWithRights, current: str) -> list[dict[str, object]]:
    return [
        {
            "url": reverse(name),
            "label": label,
            "is_current": name == current,
            "count": queries.open_data_requests() if name == "data_requests" else 0,
        }
        for name, label, action in PEOPLE_TABS
        if request.rights.may(action)
    ]
