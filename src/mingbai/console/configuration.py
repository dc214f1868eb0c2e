"""What can be set in the console, as a file: read it, plan, apply in one transaction, write it out.

    [[unit]]      code name kind parent access_codes
    [[account]]   username name email number language skills active roles = [{role, unit}]
    [[team]]      code name members roles
    [[token]]     account name scopes expires_at rate_per_minute
    [[webhook]]   name url kinds active
    [rulebook]    file or text, comment, author, approver
    [gateway]     portability complete; [[gateway.account]] [[gateway.smsc]] [[gateway.route]] [[gateway.class]]
                  [[gateway.range]]: fields of the gateway's registry

docs/reference/configuration.md describes each.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from pydantic import ValidationError

from mingbai.connectors.ledger_access import open_keys
from mingbai.contexts.audit import services as audit
from mingbai.contexts.messaging.services import configuration as messaging
from mingbai.contexts.messaging.services import gateway_configuration
from mingbai.contexts.people.services import configuration as people
from mingbai.contexts.people.services.configuration import Step
from mingbai.kernel.clock import format_utc
from mingbai.kernel.errors import BadValue, MingbaiError


class Wanted(people.PeopleWanted):
    """A whole file."""

    rulebook: messaging.RulebookWanted | None = None
    gateway: gateway_configuration.GatewayWanted | None = None


class ConfigurationUnreadable(MingbaiError):
    """The file cannot be read, or is no TOML."""

    code = "configuration_unreadable"
    template = "{path}: {what}"


def read_file(path: Path) -> Wanted:
    """Raises ConfigurationUnreadable, or BadValue that names the field, its value and what was expected."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationUnreadable(path=str(path), what=error.strerror or str(error)) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationUnreadable(path=str(path), what=f"no TOML: {error}") from error
    try:
        wanted = Wanted.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part + 1) if isinstance(part, int) else part for part in first["loc"])
        is_unknown = first["type"] == "extra_forbidden"
        expected = "no such field: see docs/reference/configuration.md" if is_unknown else first["msg"]
        raise BadValue(field=place, value=_short(first["input"]), expected=expected) from None
    if wanted.rulebook is not None:
        wanted = wanted.model_copy(update={"rulebook": wanted.rulebook.read(path.parent)})
    if wanted.gateway is not None:
        wanted = wanted.model_copy(update={"gateway": wanted.gateway.read(path.parent)})
    return wanted


def _short(value: object) -> object:
    text = str(value)
    return value if len(text) <= 100 else text[:100] + "…"


def plan(wanted: Wanted, *, actor: str, now: datetime) -> list[Step]:
    """The steps from what is there to what the file wants; none if it is so already."""
    steps = people.plan(wanted, actor=actor, now=now, keys=lambda: open_keys(settings.MINGBAI))
    if wanted.rulebook is not None:
        steps += messaging.plan(wanted.rulebook, actor=actor, now=now)
    if wanted.gateway is not None:
        steps += gateway_configuration.plan(wanted.gateway, actor=actor, now=now)
    return steps


def apply(steps: list[Step], *, actor: str, now: datetime) -> list[tuple[Step, str]]:
    """Run the plan in one transaction: all of it or nothing. Returns the secrets of new tokens and webhooks."""
    shown: list[tuple[Step, str]] = []
    if not steps:
        return shown
    with transaction.atomic():
        for step in steps:
            secret = step.run()
            if secret is not None:
                shown.append((step, secret))
        done = [f"{step.sign} {step.what} {step.name}" for step in steps]
        audit.append("configuration.applied", actor=actor, data={"steps": done[:500], "count": len(done)}, now=now)
    return shown


def export(*, now: datetime) -> str:
    """A file that `plan` finds nothing to do for, here and now."""
    parts = ["# Written by `mingbai export`. `mingbai apply` brings a system to what stands here.\n"]
    for name, rows in people.export(now=now).items():
        parts += [f"\n[[{name}]]\n" + _fields(row) for row in rows]
    parts.append("\n[rulebook]\n" + _fields(messaging.export(now=now)))
    own, exported = gateway_configuration.export()
    parts += ["\n[gateway]\n" + _fields(own)] if own else []
    for one in exported:
        comments = "".join(f"{comment}\n" for comment in one.comments)
        parts.append(f"\n[[gateway.{one.table}]]\n{_fields(one.fields)}{comments}")
    return "".join(parts)


def _fields(row: Mapping[str, object]) -> str:
    return "".join(f"{name} = {_toml(value)}\n" for name, value in row.items())


def _toml(value: Any) -> str:  # Any: of a document
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return format_utc(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {_toml(item)}" for name, item in value.items()) + " }"
    text = str(value)
    if "\n" in text and "'''" not in text and not any(ord(char) < 32 and char not in "\n\t" for char in text):
        return f"'''\n{text}'''"
    # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
