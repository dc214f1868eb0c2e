"""Calling the API in tests: a token, what operations there are, and a body that an operation can read."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.test import Client

from mingbai.contexts.people import http_api
from mingbai.contexts.people.models import Account
from mingbai.contexts.people.policy import Action
from mingbai.contexts.people.queries import rights_of
from mingbai.contexts.people.services.tokens import create_token
from mingbai.kernel.clock import utc_now

NOBODY = "0193aaaa-0000-7000-8000-000000000000"


class Api:
    """A client with a token."""

    def __init__(self, secret: str = "") -> None:
        self.secret = secret
        self._client = Client(headers={"Authorization": f"Bearer {secret}"} if secret else {})
        self._client.raise_request_exception = False

    def __call__(self, method: str, path: str, body: object = None, **headers: str) -> Any:  # Any: Django's test answer
        sent = {"data": json.dumps(body), "content_type": "application/json"} if body is not None else {}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._client.generic(method, f"/api/v1/{path}", headers=named, **sent)  # type: ignore[arg-type]  # a plain call


def api_of(holder: Account, scopes: Iterable[str] | None = None, rate: int = 60_000) -> Api:
    """A token of this account; scopes: left out, everything that it may do."""
    wanted = [action.value for action in rights_of(holder).actions] if scopes is None else list(scopes)
    expires = utc_now() + timedelta(hours=1)
    _, secret = create_token(
        holder,
        name="test",
        scopes=wanted,
        expires_at=expires,
        actor=holder.ref,
        now=utc_now(),
        rate_per_minute=rate,
    )
    return Api(secret)


@dataclass(frozen=True)
class Call:
    """One operation. actions: of which one is needed; none: any token."""

    method: str
    path: str  # with its places in braces
    actions: tuple[Action, ...]
    operation: Any  # of the OpenAPI document

    @property
    def name(self) -> str:
        return str(self.operation["operationId"])

    def filled(self, **places: str) -> str:
        """Its address with ids that do not exist."""
        foreign = {"campaign": "00000000000000ff", "version": "no-such", "code": "no-such", "session": "999999999"}

        def fill(found: re.Match[str]) -> str:
            name = found[1]
            if name in places:
                return places[name]
            if name == "id" and self.path.startswith("campaigns/"):
                return foreign["campaign"]
            schema = next(one["schema"] for one in self.operation["parameters"] if one["name"] == name)
            if schema.get("type") == "integer":
                return "999999999"
            return foreign.get(name) or (NOBODY if schema.get("format") == "uuid" else "no-such")

        return re.sub(r"\{(\w+)\}", fill, self.path)

    def body(self) -> object:
        """What it takes, with every field that must be there; None: it takes nothing."""
        content = self.operation.get("requestBody", {}).get("content", {}).get("application/json")
        return None if content is None else example(content["schema"])


@functools.cache
def document() -> dict[str, Any]:  # Any: JSON
    from mingbai.console.api import openapi

    return openapi()


def example(schema: dict[str, Any]) -> Any:  # Any: JSON
    """The plainest value that fits a schema of the document."""
    if "$ref" in schema:
        return example(document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return example(schema["anyOf"][0])
    kind = schema.get("type")
    if kind == "object":
        return {name: example(schema["properties"][name]) for name in schema.get("required", [])}
    if kind == "array":
        return [example(schema["items"])] * max(schema.get("minItems", 0), 0)
    if kind == "integer":
        return schema.get("minimum", 1)
    if kind == "boolean":
        return False
    given = schema.get("format")
    if given == "uuid":
        return NOBODY
    if given == "date-time":
        return (utc_now() + timedelta(days=1)).isoformat()
    return "x" * max(5, schema.get("minLength", 0))


@functools.cache
def calls() -> tuple[Call, ...]:
    """Every operation of the API with what it needs."""
    from mingbai.console.api import api

    needs: dict[str, tuple[Action, ...]] = {}
    for _prefix, router in api._routers:
        for view in router.path_operations.values():
            for operation in view.operations:
                gates = [auth for auth in operation.auth_callbacks if isinstance(auth, http_api.Allowed)]
                assert len(gates) == 1, f"{operation.methods} {operation.path}: who may?"
                name = operation.operation_id or api.get_openapi_operation_id(operation)
                needs[name] = gates[0].actions
    found = []
    for path, item in document()["paths"].items():
        for method, operation in item.items():
            place = path.removeprefix("/api/v1/")
            found.append(Call(method.upper(), place, needs[operation["operationId"]], operation))
    return tuple(found)
