"""Forms of the gateway's rows, made from the registry's own row classes: a field that is added there appears here."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, Union, get_args, get_origin

from annotated_types import Ge, Le, MaxLen
from django import forms
from django.utils.translation import gettext as _
from pydantic.fields import FieldInfo

from mingbai.connectors.gateway_registry import ROWS, SECRETS, Protocol, Registry
from mingbai.contexts.audit.words import said
from mingbai.contexts.messaging.queries import gateway as queries
from mingbai.contexts.messaging.views.gateway_words import choice_word, expected_words, field_words
from mingbai.kernel.errors import BadValue, MingbaiError
from mingbai.protocols.text import Encoding

_ELSEWHERE: Final = ("mode", "bypass_until")  # a mode is switched by itself, with a confirmation
_LONG: Final = ("ca", "client_certificate", "client_key")
_FEW: Final[dict[str, tuple[str, ...]]] = {  # texts of which only some are allowed
    "after_hold": ("forward", "refuse"),
    "alphabet": ("", *(one.value for one in Encoding)),
    "version": ("", "2.0", "3.0", "1.2", "1.3", "3.4", "5.0"),
}


class RowForm(forms.Form):
    """A row of one kind. document: the present one, whose name stays; its secrets are never shown."""

    def __init__(self, kind: str, given: Mapping[str, Any] | None, document: Mapping[str, Any] | None = None) -> None:
        super().__init__(given)
        self.kind = kind
        for name, info in ROWS[kind].model_fields.items():
            if name not in _ELSEWHERE:
                self.fields[name] = _field(kind, name, info)
        if document is not None:
            self.fields["name"].disabled = True
            self.initial = {name: _shown(document.get(name)) for name in self.fields if not self._is_secret(name)}
        elif "secret" in self.fields and kind == "accounts":
            self.fields["secret"].required = True

    def _is_secret(self, name: str) -> bool:
        return name in SECRETS.get(self.kind, ())

    @property
    def document(self) -> dict[str, Any]:  # Any: JSON
        """What was sent, as the registry takes it; empty secrets are left out, so that they stay."""
        return {
            name: value.replace("\r\n", "\n") if isinstance(value, str) else value
            for name, value in self.cleaned_data.items()
            if value is not None and not (self._is_secret(name) and value == "")
        }

    def say(self, error: MingbaiError) -> None:
        """An error of the registry, beside the field that it names."""
        place = str(error.data.get("field", ""))
        if isinstance(error, BadValue):
            error = BadValue(**{**error.data, "expected": expected_words(str(error.data.get("expected", "")))})
        words = said(error)
        parts = place.split(".")
        own = f"{self.kind}.{self.cleaned_data.get('name', '')}."
        name = place.removeprefix(own) if place.startswith(own) else parts[0]
        if isinstance(error, BadValue) and name in self.fields:
            self.add_error(name, words)
        else:
            about = ".".join(parts[:-1])
            self.add_error(None, _("%(place)s: %(what)s") % {"place": about, "what": words} if about else words)

    @property
    def groups(self) -> Iterator[tuple[str, list[forms.BoundField]]]:
        """Fields as a page shows them: what nearly every row needs, then the rest."""
        usual = _FIRST.get(self.kind, ())
        bound = list(self)
        first = [one for one in bound if one.name in usual or one.field.required or one.errors]
        rest = [one for one in bound if one not in first]
        yield "first", first
        if rest:
            yield "rest", rest


_FIRST: Final[dict[str, tuple[str, ...]]] = {
    "accounts": ("active", "secret", "party", "traffic", "access_codes", "addresses", "connections", "rate_per_s"),
    "smscs": ("active", "secret", "connections", "rate_per_s", "tls"),
    "routes": ("active", "order", "accounts", "access_codes", "destinations", "networks"),
    "classes": ("active", "unscreened", "in_doubt", "hold_minutes", "after_hold", "flagged"),
    "ranges": ("active",),
}


class SecretText(forms.Textarea):
    """Of more than one line, and never shown again, also not beside an error."""

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:  # Any: Django's own
        return super().get_context(name, None, attrs)


class Lines(forms.CharField):
    """Several values, one a line."""

    widget = forms.Textarea

    def clean(self, value: Any) -> list[str]:  # Any: what a browser sent
        text = super().clean(value)
        return [line.strip() for line in str(text).splitlines() if line.strip()]


class Pairs(Lines):
    """NAME=VALUE, one a line; whole numbers are numbers."""

    def clean(self, value: Any) -> dict[str, int | str]:  # type: ignore[override]  # Any: as above; another document
        found: dict[str, int | str] = {}
        for line in super().clean(value):
            name, sign, given = line.partition("=")
            if not sign or not name.strip():
                raise forms.ValidationError(_("NAME=VALUE, one a line."))
            given = given.strip()
            found[name.strip()] = int(given) if given.isascii() and given.isdigit() and len(given) < 19 else given
        return found


class _TextOrNone(forms.CharField):
    def clean(self, value: Any) -> str | None:  # Any: as above; nothing is None
        return super().clean(value) or None


class _ChoiceOrNone(forms.ChoiceField):
    def clean(self, value: Any) -> str | None:  # Any: as above
        return super().clean(value) or None


def _field(kind: str, name: str, info: FieldInfo) -> forms.Field:
    label, help_text = field_words(kind, name)
    inner, is_optional, limits = _unwrapped(info)
    usual = None if info.is_required() else info.get_default(call_default_factory=True)
    said: dict[str, Any] = {  # Any: what fields take
        "label": label, "help_text": help_text, "required": info.is_required(), "initial": _shown(usual),
    }  # fmt: skip
    if name in SECRETS.get(kind, ()):
        widget = SecretText(attrs={"rows": 3}) if name in _LONG else forms.PasswordInput(render_value=False)
        widget.attrs |= {"autocomplete": "new-password", "spellcheck": "false"}
        return forms.CharField(**{**said, "initial": ""}, widget=widget)
    if inner is bool:
        return forms.BooleanField(**{**said, "required": False})
    if isinstance(inner, type) and issubclass(inner, StrEnum):
        values = [one.value for one in inner if not (kind == "smscs" and one is Protocol.HTTP)]
        return forms.ChoiceField(**said, choices=[(value, choice_word(name, value)) for value in values])
    if name in _FEW:
        choices = [(value, choice_word(name, value) or "–") for value in _FEW[name]]
        return (_ChoiceOrNone if is_optional else forms.ChoiceField)(**said, choices=choices)
    if kind == "accounts" and name == "traffic":
        known = dict.fromkeys((*Registry().class_of, *queries.names("classes")))
        return forms.ChoiceField(**said, choices=[(one, one) for one in known])
    if inner is int:
        return forms.IntegerField(**said, min_value=limits.get("least"), max_value=limits.get("most"))
    if get_origin(inner) is tuple:
        return Lines(**said, widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}))
    if get_origin(inner) is dict:
        return Pairs(**said, widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}))
    if name in _LONG:
        return forms.CharField(**said, widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}))
    return (_TextOrNone if is_optional else forms.CharField)(**said, max_length=limits.get("longest"))


def _unwrapped(info: FieldInfo) -> tuple[Any, bool, dict[str, int]]:  # Any: a type
    """The plain type of a field, whether it may be None, and its limits."""
    inner: Any = info.annotation  # Any: as above
    metadata = list(info.metadata)
    is_optional = False
    while get_origin(inner) in (Annotated, Union, types.UnionType):
        if get_origin(inner) is Annotated:
            inner, *more = get_args(inner)
            metadata += more
            metadata += [one for field in more if isinstance(field, FieldInfo) for one in field.metadata]
        else:
            is_optional = True
            inner = next(one for one in get_args(inner) if one is not type(None))
    limits: dict[str, int] = {}
    for one in metadata:
        if isinstance(one, Ge):
            limits["least"] = int(str(one.ge))
        elif isinstance(one, Le):
            limits["most"] = int(str(one.le))
        elif isinstance(one, MaxLen):
            limits["longest"] = one.max_length
    return inner, is_optional, limits


def _shown(value: Any) -> Any:  # Any: JSON, what widgets take
    if isinstance(value, list | tuple):
        return "\n".join(str(one) for one in value)
    if isinstance(value, dict):
        return "\n".join(f"{name}={one}" for name, one in value.items())
    return "" if value is None else value
