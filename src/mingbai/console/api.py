"""`/api/v1`: everything a person can do on the pages, as JSON; described by OpenAPI 3.1 at /api/v1/openapi.json."""

from __future__ import annotations

import logging
import traceback
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

from mingbai import __version__
from mingbai.contexts.people.http_api import problem, problem_of
from mingbai.contexts.people.rights import public
from mingbai.kernel.errors import MingbaiError

log = logging.getLogger(__name__)

api = NinjaAPI(
    title="Mingbai",
    version=__version__,
    description=(
        "Everything a person can do in the console. Send `Authorization: Bearer <token>`; make tokens on the page "
        "My account. Errors are problem details (RFC 9457). Lists go on with `cursor`. Send `Idempotency-Key` with "
        "whatever changes something, and a repeated request gets the first one's answer."
    ),
    urls_namespace="api",
    docs_url=None,  # ninja's page loads scripts from elsewhere
    openapi_url=None,  # served below, by a view that says that everybody may read it
)


@api.exception_handler(MingbaiError)
def _house(request: HttpRequest, error: MingbaiError) -> HttpResponse:
    return problem_of(error)


@api.exception_handler(AuthenticationError)
def _unknown(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
    return problem(401, "send a valid token: Authorization: Bearer …", code="not_authenticated")


@api.exception_handler(ValidationError)
def _invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    errors = [
        {"field": ".".join(str(part) for part in found["loc"]), "expected": found["msg"]} for found in error.errors
    ]
    return problem(422, "one or more fields are wrong", code="invalid", errors=errors)


@api.exception_handler(HttpError)
def _http(request: HttpRequest, error: HttpError) -> HttpResponse:
    return problem(error.status_code, str(error))


@api.exception_handler(Http404)
def _missing(request: HttpRequest, error: Http404) -> HttpResponse:
    return problem(404)


@api.exception_handler(PermissionDenied)
def _denied(request: HttpRequest, error: PermissionDenied) -> HttpResponse:
    return problem(403)


@api.exception_handler(Exception)
def _fault(request: HttpRequest, error: Exception) -> HttpResponse:
    # The words of an exception may quote a message; the place is enough to find it.
    frame = traceback.extract_tb(error.__traceback__)[-1]
    log.error("the API failed", extra={"error": type(error).__name__, "place": f"{frame.name}:{frame.lineno}"})
    return problem(500, code="fault")


for module, prefix in (
    ("mingbai.contexts.people.api", ""),
    ("mingbai.contexts.audit.api", ""),
    ("mingbai.contexts.messaging.api", ""),
):
    if find_spec(module):
        api.add_router(prefix, import_module(module).router)


def openapi() -> dict[str, Any]:  # Any: an OpenAPI document
    """The description of the API as a document."""
    found: dict[str, Any] = dict(api.get_openapi_schema(path_prefix="/api/v1/"))
    return found


@public
def description(request: HttpRequest) -> HttpResponse:
    return JsonResponse(openapi(), json_dumps_params={"ensure_ascii": False})


urlpatterns = [path("api/v1/openapi.json", description, name="openapi"), path("api/v1/", api.urls)]
