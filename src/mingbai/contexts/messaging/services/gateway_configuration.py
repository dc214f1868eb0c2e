"""The SMS gateway as part of a configuration file.

    [gateway]            portability, complete
    [[gateway.account]]  [[gateway.smsc]]  [[gateway.route]]  [[gateway.class]]  [[gateway.range]]

Fields are those of the registry's rows. A secret is given as `secret`, or as `secret_env` or `secret_file`, which name
where it stands; certificates and keys likewise as files. A secret that is not given stays as it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from django.db import transaction
from pydantic import BaseModel, ConfigDict, Field

from mingbai.connectors.gateway_registry import ROWS, SECRETS, Mode
from mingbai.contexts.messaging.models import GatewayRow, GatewayState
from mingbai.contexts.messaging.queries.traffic import keys
from mingbai.contexts.messaging.services import gateway
from mingbai.contexts.people.services.configuration import Step
from mingbai.kernel.errors import BadValue

# name of the table in a file -> kind, in the order in which rows come to be: each needs only what stands before it
TABLES: Final = {"class": "classes", "smsc": "smscs", "account": "accounts", "route": "routes", "range": "ranges"}
_FROM_FILE: Final = ("secret", "ca", "client_certificate", "client_key")
_LARGEST_FILE: Final = 100_000  # octets: chains of certificates are some thousand

Table = tuple[dict[str, Any], ...]  # Any: TOML; the registry's rows check it


class GatewayWanted(BaseModel):
    """The part of a file about the gateway. complete: what the gateway has and the file does not name is removed."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    account: Table = ()
    smsc: Table = ()
    route: Table = ()
    classes: Table = Field((), alias="class")
    range: Table = ()
    portability: str | None = None
    complete: bool = False

    def table(self, name: str) -> Table:
        found: Table = getattr(self, "classes" if name == "class" else name)
        return found

    def read(self, folder: Path) -> GatewayWanted:
        """With what stands in variables and files. Paths are from `folder`. Raises BadValue."""
        tables = {
            "classes" if name == "class" else name: tuple(_read(name, row, folder) for row in self.table(name))
            for name in TABLES
        }
        changes: dict[str, Any] = {**tables}  # Any: fields of this model
        if self.portability:
            path = (folder / self.portability).absolute()
            if not path.is_file():
                raise BadValue(field="gateway.portability", value=self.portability, expected="a file")
            changes["portability"] = str(path)
        return self.model_copy(update=changes)


def _read(table: str, row: dict[str, Any], folder: Path) -> dict[str, Any]:  # Any: TOML
    place = _place(table, row.get("name", ""))
    found = dict(row)
    for name in _FROM_FILE:
        sources = [source for source in (name, f"{name}_env", f"{name}_file") if source in found]
        if len(sources) > 1:
            raise BadValue(field=f"{place}: {name}", value=", ".join(sources), expected="one of them")
        if f"{name}_env" in found and name == "secret":
            variable = str(found.pop("secret_env"))
            secret = os.environ.get(variable, "")
            if not secret:
                raise BadValue(field=f"{place}: secret_env", value=variable, expected="a variable that is set")
            found[name] = secret
        elif f"{name}_file" in found:
            found[name] = _content(f"{place}: {name}_file", str(found.pop(f"{name}_file")), folder)
    return found


def _content(field: str, given: str, folder: Path) -> str:
    try:
        with (folder / given).open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise BadValue(field=field, value=given, expected=f"a file of UTF-8 text ({error})") from error
    if len(content) > _LARGEST_FILE:
        raise BadValue(field=field, value=given, expected=f"a file of at most {_LARGEST_FILE} octets")
    return text if text.startswith("-----BEGIN") else text.strip()


def _place(table: str, name: object) -> str:
    return f"gateway.{table} {name}".strip()


# -- plan --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Row:
    table: str
    name: str
    given: Mapping[str, Any]  # Any: TOML; as `save_row` takes it
    document: dict[str, Any]  # Any: JSON; as it will stand


def plan(wanted: GatewayWanted, *, actor: str, now: datetime) -> list[Step]:
    """What has to be done. Raises BadValue for rows that are wrong, or that would not fit together."""
    present = {(row.kind, row.name): row.document for row in GatewayRow.objects.all()}
    state = GatewayState.objects.filter(pk=1).first()
    portability = state.portability if state is not None else ""
    file = portability if wanted.portability is None else wanted.portability
    rows = [_checked(table, given, present, now) for table in TABLES for given in wanted.table(table)]
    named = {(TABLES[row.table], row.name): row.document for row in rows}
    if len(named) < len(rows):
        names = [(row.table, row.name) for row in rows]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadValue(field=f"gateway.{twice[0]}", value=twice[1], expected="a name that is there once")
    gone = [at for at in present if at not in named] if wanted.complete else []
    after = {at: document for at, document in {**present, **named}.items() if at not in gone}
    _fit(after, file)
    changed = [row for row in rows if present.get((TABLES[row.table], row.name)) != row.document]
    removed = [(table, name) for table in reversed(TABLES) for kind, name in sorted(gone) if kind == TABLES[table]]
    count = len(changed) + len(removed) + (file != portability)
    steps: list[Step] = []

    def is_last() -> bool:
        return len(steps) + 1 == count

    for row in changed:
        steps.append(_saving(row, present.get((TABLES[row.table], row.name)), is_last(), actor, now))
    for table, name in removed:
        steps.append(_removing(table, name, is_last(), actor, now))
    if file != portability:

        def move() -> None:
            gateway.set_portability(file, actor=actor, now=now)

        steps.append(Step("~", "gateway", "portability", move, (("portability", portability, file),)))
    if not steps and not gateway.is_published():  # the file was moved away, or a crash came before it was written

        def publish() -> None:
            transaction.on_commit(gateway.publish_present)

        steps.append(Step("+", "gateway", "registry.json", publish))
    return steps


def _checked(
    table: str, given: dict[str, Any], present: Mapping[tuple[str, str], dict[str, Any]], now: datetime
) -> _Row:  # Any: TOML, JSON
    name = str(given.get("name", ""))
    try:
        kind = TABLES[table]
        document = gateway.completed(kind, given, present.get((kind, name)), keys(), now=now)
    except BadValue as error:
        data = {**error.data, "field": f"{_place(table, name)}: {error.data['field']}"}
        raise BadValue(**data) from None
    return _Row(table, name, given, document)


def _fit(rows: Mapping[tuple[str, str], dict[str, Any]], portability: str) -> None:  # Any: JSON
    try:
        gateway.registry_of(((kind, document) for (kind, _name), document in rows.items()), portability)
    except BadValue as error:
        raise BadValue(**{**error.data, "field": f"gateway.{error.data['field']}"}) from None


def _saving(row: _Row, before: Mapping[str, Any] | None, is_last: bool, actor: str, now: datetime) -> Step:  # Any: JSON
    def save() -> None:
        gateway.save_row(TABLES[row.table], row.given, actor=actor, now=now, is_whole=is_last)

    if before is None:
        return Step("+", f"gateway.{row.table}", row.name, save)
    changes = tuple(
        (name, _said(row.table, name, before.get(name)), _said(row.table, name, value))
        for name, value in row.document.items()
        if value != before.get(name)
    )
    return Step("~", f"gateway.{row.table}", row.name, save, changes)


def _removing(table: str, name: str, is_last: bool, actor: str, now: datetime) -> Step:
    def remove() -> None:
        gateway.remove_row(TABLES[table], name, actor=actor, now=now, is_whole=is_last)

    return Step("-", f"gateway.{table}", name, remove)


def _said(table: str, name: str, value: Any) -> str:  # Any: JSON
    if name in SECRETS.get(TABLES[table], ()):
        return "***" if value else ""
    if isinstance(value, list):
        return ", ".join(str(one) for one in value)
    if isinstance(value, dict):
        return ", ".join(f"{key}={one}" for key, one in value.items())
    text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 60 else text[:60] + "…"


# -- export ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Exported:
    """One row for a file. comments: lines to stand before it, about secrets that it leaves out."""

    table: str
    fields: dict[str, object]
    comments: tuple[str, ...]


def export() -> tuple[dict[str, object], list[Exported]]:
    """The fields of [gateway] and all rows, such that `plan` finds nothing to do. No secret is in it."""
    state = GatewayState.objects.filter(pk=1).first()
    own: dict[str, object] = {"portability": state.portability} if state is not None and state.portability else {}
    rows = []
    for table, kind in TABLES.items():
        for row in GatewayRow.objects.filter(kind=kind).order_by("name"):
            rows.append(Exported(table, _fields(kind, row.document), tuple(_comments(table, kind, row))))
    return own, rows


def _fields(kind: str, document: Mapping[str, Any]) -> dict[str, object]:  # Any: JSON
    """What differs from a row of which only the required is said: short files, and the same meaning."""
    usual = ROWS[kind].model_fields
    left_out = set(SECRETS.get(kind, ()))
    if document.get("mode") == Mode.BYPASS:
        left_out |= {"mode", "bypass_until"}  # the bypass goes on to its end; no file orders one
    found: dict[str, object] = {}
    for name, value in document.items():
        default = usual[name].get_default(call_default_factory=True)
        plain = list(default) if isinstance(default, tuple) else default
        if name not in left_out and value is not None and (usual[name].is_required() or value != plain):
            found[name] = value
    return found


def _comments(table: str, kind: str, row: GatewayRow) -> Iterable[str]:
    for name in SECRETS.get(kind, ()):
        if row.document.get(name):
            variable = f"MINGBAI_GATEWAY_{table}_{row.name}".upper().translate(str.maketrans(".-", "__"))
            source = f'{name}_env = "{variable}"' if name == "secret" else f'{name}_file = "{row.name}.key"'
            yield f"# {source}  # left out, it stays as it is"
