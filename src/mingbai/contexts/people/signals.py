"""Sign-ins, sign-outs and changes of second factors become entries of the control stream."""

from __future__ import annotations

from typing import Any

from allauth.account.signals import password_changed
from allauth.mfa.signals import authenticator_added, authenticator_removed
from allauth.usersessions.models import UserSession
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.dispatch import receiver

from mingbai.contexts.audit import services as audit


@receiver(user_logged_in)
def _logged_in(sender: object, request: Any, user: Any, **_: object) -> None:  # Any: what Django sends
    audit.append("session.opened", actor=user.ref, subject=user.ref, data={"address": _address(request)})
    # allauth lists the sessions of its own sign-in; the one-time link signs in too, and must be as easy to end.
    if _address(request):  # a request that came from somewhere; a test may sign in without one
        UserSession.objects.create_from_request(request)


@receiver(user_logged_out)
def _logged_out(sender: object, request: Any, user: Any, **_: object) -> None:  # Any: what Django sends
    if user is not None:
        audit.append("session.closed", actor=user.ref, subject=user.ref)


@receiver(user_login_failed)
def _login_failed(
    sender: object, credentials: dict[str, Any], request: Any = None, **_: object
) -> None:  # Any: as above
    # The name that was tried may be a password typed into the wrong field: it is not kept.
    audit.append("session.refused", actor="system", data={"address": _address(request)})


@receiver(password_changed)
def _password_changed(sender: object, request: Any, user: Any, **_: object) -> None:  # Any: what allauth sends
    audit.append("password.changed", actor=user.ref, subject=user.ref)


@receiver(authenticator_added)
def _factor_added(sender: object, request: Any, user: Any, authenticator: Any, **_: object) -> None:  # Any: as above
    audit.append("factor.added", actor=user.ref, subject=user.ref, data={"type": str(authenticator.type)})


@receiver(authenticator_removed)
def _factor_removed(sender: object, request: Any, user: Any, authenticator: Any, **_: object) -> None:  # Any: as above
    audit.append("factor.removed", actor=user.ref, subject=user.ref, data={"type": str(authenticator.type)})


def _address(request: Any) -> str:  # Any: an HttpRequest, or None from a test
    return str(request.META.get("REMOTE_ADDR", "")) if request is not None else ""
