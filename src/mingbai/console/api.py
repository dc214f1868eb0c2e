"""`/api/v1`: everything a person can do on the pages, as JSON; described by OpenAPI 3.1 at /api/v1/openapi.json."""

from __future__ import annotations

import json
import logging
import traceback
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import path
from django.views.decorators.http import require_GET
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.operation import Operation

from mingbai import __version__
from mingbai.contexts.people.http_api import PROBLEM, Problem, problem, problem_of
from mingbai.contexts.people.rights import public, signed_in
from mingbai.kernel.errors import MingbaiError

log = logging.getLogger(__name__)


class _Api(NinjaAPI):
    """With operation ids that a program can be generated from: `rulebook_approve`, not the path of a module."""

    def get_openapi_operation_id(self, operation: Operation) -> str:
        module, name = operation.view_func.__module__.rpartition(".")[2], operation.view_func.__name__
        return name if name == module else f"{module}_{name}"


api = _Api(
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


# What the parts of the API are for, in the order in which they are described.
_TAGS = {
    "screening": "Messages to decide.",
    "decisions": "What was decided: counts, search, one decision with why, campaigns, exceptions, exports.",
    "review": "The review desk: take, decide, undo; whole campaigns; the team.",
    "rulebook": "Rules in force, drafts, two-person approval, replay.",
    "model": "Models: learn, compare, shadow, approve, back; drift.",
    "gateway": "The SMS gateway: accounts, SMSCs, routes; what it does now; dead letters; orders to it.",
    "people": "Accounts, roles, units, teams, sessions, tokens.",
    "data requests": "What subscribers ask about their own data.",
    "webhooks": "Other systems that are told of events.",
    "audit": "The control stream: who did what, and the proof that nothing in it was changed.",
}
# Said of every operation here and not at each: ninja would build a model for each answer of each operation, which took
# a second of every start.
_ERRORS = {
    400: "The request cannot be read.",
    401: "There is no valid token.",
    403: "The token, or its account, lacks the right.",
    404: "There is none, or it lies outside of the caller's scope.",
    405: "The address is another operation's, which takes another method.",
    409: "Not in this state, or two people are needed; `code` says which.",
    413: "The body is too large.",
    422: "A field is wrong; `errors` names it.",
    429: "Too many requests; `Retry-After` says when to come again.",
    503: "A part is down or busy; a retry helps. Nothing was done.",
}
_FILE_TYPES = ("application/zip", "text/csv", "application/octet-stream")
_METHODS = ("get", "post", "put", "patch", "delete")
_KEY_PARAMETER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A repetition with the same key gets the first answer again.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$"},
}


def openapi() -> dict[str, Any]:  # Any: an OpenAPI document
    """The description of the API as a document, with what every operation shares said at each."""
    document: dict[str, Any] = dict(api.get_openapi_schema(path_prefix="/api/v1/"))  # Any: as above
    document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["components"]["schemas"]["Problem"] = Problem.model_json_schema(mode="serialization")
    document["tags"] = [{"name": name, "description": words} for name, words in _TAGS.items()]
    for item in document["paths"].values():
        for method, operation in item.items():
            if method in _METHODS:
                _complete(method, operation)
    return document


def _complete(method: str, operation: dict[str, Any]) -> None:  # Any: as above
    operation["security"] = [{"token": []}]
    if method != "get":
        operation.setdefault("parameters", []).append(_KEY_PARAMETER)
    for status, response in operation["responses"].items():
        content = response.get("content", {})
        if content.get("application/json", {}).get("schema", {}).get("format") == "binary":
            file = content.pop("application/json")
            content.update({kind: file for kind in _FILE_TYPES})
            response["description"] = "The file."
        elif status == 204:
            response["description"] = "Done."
    schema = {"$ref": "#/components/schemas/Problem"}
    for status, words in _ERRORS.items():
        operation["responses"][status] = {"description": words, "content": {PROBLEM: {"schema": schema}}}


@public
def description(request: HttpRequest) -> HttpResponse:
    return JsonResponse(openapi(), json_dumps_params={"ensure_ascii": False})


@signed_in
@require_GET
def reference(request: HttpRequest) -> HttpResponse:
    """The same to be read by people: operations by part, each with its parameters and an example for a shell."""
    document = openapi()
    groups: dict[str, list[dict[str, Any]]] = {name: [] for name in _TAGS}  # Any: what templates take
    for path_, item in document["paths"].items():
        for method, operation in item.items():
            if method in _METHODS:
                shown = _shown(path_, method, operation, document, request.build_absolute_uri("/"))
                groups[operation["tags"][0]].append(shown)
    parts = [
        {"name": name, "words": _TAGS[name], "anchor": name.replace(" ", "-"), "operations": listed}
        for name, listed in groups.items()
    ]
    count = sum(len(listed) for listed in groups.values())
    return render(request, "console/api_docs.html", {"parts": parts, "count": count, "version": __version__})


def _shown(
    path_: str,
    method: str,
    operation: dict[str, Any],
    document: dict[str, Any],
    origin: str,  # Any: as above
) -> dict[str, Any]:  # Any: as above
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    fields = _fields(body, document) if body else []
    lines = [f"curl -X {method.upper()} '{origin.rstrip('/')}{path_}'", "-H 'Authorization: Bearer mb_…'"]
    if body:
        text = json.dumps(_example(body, document), ensure_ascii=False)
        lines += ["-H 'Content-Type: application/json'", f"-d '{text}'"]
    return {
        "id": operation["operationId"],
        "method": method.upper(),
        "path": path_,
        "summary": operation.get("summary", ""),
        "words": operation.get("description", ""),
        "parameters": [
            {
                "name": one["name"],
                "where": one["in"],
                "type": _type(one["schema"], document),
                "required": one.get("required", False),
                "words": one.get("description") or one["schema"].get("description", ""),
            }
            for one in operation.get("parameters", [])
            if one is not _KEY_PARAMETER
        ],
        "fields": fields,
        "curl": " \\\n  ".join(lines),
    }


def _fields(schema: dict[str, Any], document: dict[str, Any]) -> list[dict[str, Any]]:  # Any: as above
    found = _resolved(schema, document)
    required = found.get("required", [])
    return [
        {
            "name": name,
            "where": "body",
            "type": _type(one, document),
            "required": name in required,
            "words": one.get("description", ""),
        }
        for name, one in found.get("properties", {}).items()
    ]


def _resolved(schema: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:  # Any: as above
    name = schema.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = document["components"]["schemas"][name] if name else schema  # Any: as above
    return found


def _type(schema: dict[str, Any], document: dict[str, Any]) -> str:  # Any: as above
    """A type in a few words: `string (uuid)`, `array of string`, `one of a, b`."""
    if "anyOf" in schema:
        return " | ".join(_type(one, document) for one in schema["anyOf"])
    found = _resolved(schema, document)
    if "enum" in found:
        return ", ".join(map(str, found["enum"])) if len(found["enum"]) <= 8 else f"{len(found['enum'])} names"
    if found.get("type") == "array":
        return f"array of {_type(found.get('items', {}), document)}"
    kind = str(found.get("type", "any"))
    return f"{kind} ({found['format']})" if "format" in found else kind


def _example(schema: dict[str, Any], document: dict[str, Any]) -> object:  # Any: as above
    """Something that fits a schema, for an example: of an object, what must be there."""
    found = _resolved(schema["anyOf"][0] if "anyOf" in schema else schema, document)
    if "enum" in found:
        return found["enum"][0]
    if found.get("type") == "array":
        return [_example(found.get("items", {}), document)]
    if found.get("type") == "object":
        properties = found.get("properties", {})
        return {name: _example(properties[name], document) for name in found.get("required", [])}
    return {"integer": 1, "number": 0.5, "boolean": True}.get(str(found.get("type")), "…")


urlpatterns = [
    path("api/", reference, name="api_reference"),
    path("api/v1/openapi.json", description, name="openapi"),
    path("api/v1/", api.urls),
]
