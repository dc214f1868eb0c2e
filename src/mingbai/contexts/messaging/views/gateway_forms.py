"""Forms of the gateway's rows, made from the registry's own row classes: a field that is added there appears here."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Any, Final, Union, get_args, get_origin

from annotated_types import Ge, Le, MaxLen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from django import forms
from django.utils.translation import gettext as _
from pydantic.fields import FieldInfo

from mingbai.connectors.gateway_registry import ROWS, SECRETS, Protocol, Registry
from mingbai.contexts.audit.words import said
from mingbai.contexts.messaging.queries import gateway as queries
from mingbai.contexts.messaging.views.gateway_words import PARTS, choice_word, expected_words, field_words
from mingbai.kernel.errors import BadValue, MingbaiError
from mingbai.protocols.text import Encoding

_ELSEWHERE: Final = ("mode", "bypass_until")  # a mode is switched by itself, with a confirmation
_LONG: Final = ("ca", "client_certificate", "client_key")
_NAMES: Final = {("routes", "to"): "smscs", ("routes", "accounts"): "accounts"}  # fields with names of other rows
_MOST_NAMES: Final = 20  # of them beside a field
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
    def groups(self) -> list[Part]:
        """Fields as a page shows them; a field that no part names comes in the last one."""
        named = PARTS[self.kind]
        rest = [name for name in self.fields if not any(name in part.fields for part in named)]
        *before, last = named
        parts = [*before, replace(last, fields=(*last.fields, *rest))]
        found = []
        for part in parts:
            bound = [self[name] for name in part.fields if name in self.fields]
            is_open = part.is_open or any(one.errors or self._is_said(one) for one in bound)
            found.append(Part(str(part.title), str(part.about), is_open, [(one, _is_wide(one)) for one in bound]))
        return [part for part in found if part.bound]

    def _is_said(self, bound: forms.BoundField) -> bool:
        """Whether a field has another value than a new row."""
        usual = self.fields[bound.name].initial
        return str(bound.initial if bound.initial is not None else "") != str(usual if usual is not None else "")


@dataclass(frozen=True, slots=True)
class Part:
    """Fields of one subject. bound: each with whether it takes the whole width."""

    title: str
    about: str
    is_open: bool
    bound: list[tuple[forms.BoundField, bool]]


def _is_wide(bound: forms.BoundField) -> bool:
    return isinstance(bound.field.widget, forms.Textarea) and bound.name in _LONG


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


class Fingerprint(forms.CharField):
    """SHA-256 of a certificate: as tools write it, with colons and capitals too, or the certificate itself."""

    widget = forms.Textarea

    def clean(self, value: Any) -> str:  # Any: what a browser sent
        text = str(super().clean(value)).strip()
        if not text.startswith("-----BEGIN"):
            return text.replace(":", "").lower()
        try:
            found = x509.load_pem_x509_certificate(text.encode())
        except ValueError:
            raise forms.ValidationError(_("This is no certificate (PEM).")) from None
        return found.fingerprint(hashes.SHA256()).hex()


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
    if (kind, name) in _NAMES and (names := queries.names(_NAMES[kind, name])):
        more = " …" if len(names) > _MOST_NAMES else ""
        help_text += " " + _("There are: %(names)s") % {"names": ", ".join(names[:_MOST_NAMES]) + more}
    inner, is_optional, limits = _unwrapped(info)
    usual = None if info.is_required() else info.get_default(call_default_factory=True)
    said: dict[str, Any] = {  # Any: what fields take
        "label": label, "help_text": help_text, "required": info.is_required(), "initial": _shown(usual),
    }  # fmt: skip
    if name in SECRETS.get(kind, ()):
        widget = (
            SecretText(attrs={"rows": 3, "class": "mono"}) if name in _LONG else forms.PasswordInput(render_value=False)
        )
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
        return Lines(**said, widget=_text())
    if get_origin(inner) is dict:
        return Pairs(**said, widget=_text())
    if name == "certificate":
        return Fingerprint(**said, widget=_text())
    if name in _LONG:
        return forms.CharField(**said, widget=_text())
    return (_TextOrNone if is_optional else forms.CharField)(**said, max_length=limits.get("longest"))


def _text() -> forms.Textarea:
    return forms.Textarea(attrs={"rows": 3, "spellcheck": "false", "autocapitalize": "none", "class": "mono"})


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
