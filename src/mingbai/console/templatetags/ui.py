"""Components of every page: icons, verdicts, page heads, tiles, fields, notices, empty states, dialogs.

A verdict looks the same everywhere: icon, word, colour. Names are checked where they are used, so that a misspelt icon
fails in the test of its page and not as a hole on the screen. Markup of the larger ones: `templates/components/`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from secrets import token_hex

from django import forms, template
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.utils.html import format_html, format_html_join, json_script
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from mingbai.console.templatetags.figures import NO_VALUE, percent
from mingbai.contexts.audit import words
from mingbai.kernel.errors import BadValue
from mingbai.kernel.verdicts import Category, Verdict

register = template.Library()

SPRITE = Path(__file__).parents[1] / "static" / "console" / "icons.svg"
VERDICT_ICONS = {
    Verdict.ALLOW: "circle-check",
    Verdict.FLAG: "flag",
    Verdict.HOLD: "circle-pause",
    Verdict.BLOCK: "octagon-x",
}
VERDICT_WORDS = {
    Verdict.ALLOW: _("Allow"),
    Verdict.FLAG: _("Flag"),
    Verdict.HOLD: _("Hold"),
    Verdict.BLOCK: _("Block"),
}
CATEGORY_ICONS = {
    Category.PERSONAL: "user-round",
    Category.NOTIFICATION: "bell",
    Category.ADVERTISING: "megaphone",
    Category.FRAUD: "fish",
    Category.ILLEGAL_TRADE: "scale",
}
CATEGORY_WORDS = {
    Category.PERSONAL: _("Personal"),
    Category.NOTIFICATION: _("Notification"),
    Category.ADVERTISING: _("Advertising"),
    Category.FRAUD: _("Fraud"),
    Category.ILLEGAL_TRADE: _("Illegal trade"),
}
NOTICE_ICONS = {"info": "info", "good": "circle-check", "warn": "triangle-alert", "bad": "octagon-alert"}
TOAST_ICONS = {"success": "circle-check", "warning": "triangle-alert", "error": "octagon-alert"}


# ------------------------------------------------------------------------------------------------------- icons, words


def joined(parts: Iterable[SafeString]) -> SafeString:
    """Pieces of markup as one; a piece that is plain text is escaped on the way."""
    return format_html_join("", "{}", ((part,) for part in parts))


@cache
def icon_names() -> frozenset[str]:
    return frozenset(re.findall(r'<symbol id="([^"]+)"', SPRITE.read_text(encoding="utf-8")))


@register.simple_tag
def icon(name: str, size: str = "", label: str = "") -> SafeString:
    """An icon of the sprite; `size` is "", "lg" or "xl". With a `label` it speaks, without one it is decoration."""
    if name not in icon_names():
        raise BadValue(field="icon", value=name, expected=f"a symbol of {SPRITE.name}")
    spoken = format_html('role="img" aria-label="{}"', label) if label else SafeString('aria-hidden="true"')
    css = f"icon icon-{size}" if size else "icon"
    return format_html('<svg class="{}" {}><use href="{}#{}"/></svg>', css, spoken, static("console/icons.svg"), name)


def as_verdict(value: Verdict | int | str) -> Verdict:
    """A verdict from its code or its name. Raises BadValue."""
    try:
        return Verdict[value.upper()] if isinstance(value, str) and not value.isdigit() else Verdict(int(value))
    except (KeyError, ValueError):
        raise BadValue(field="verdict", value=value, expected=", ".join(v.name.lower() for v in Verdict)) from None


def as_category(value: Category | int | str) -> Category:
    """A category from its code or its name. Raises BadValue."""
    try:
        return Category[value.upper()] if isinstance(value, str) and not value.isdigit() else Category(int(value))
    except (KeyError, ValueError):
        raise BadValue(field="category", value=value, expected=", ".join(c.name.lower() for c in Category)) from None


@register.simple_tag
def verdict(value: Verdict | int | str, size: str = "") -> SafeString:
    """The badge: icon, word, colour."""
    which = as_verdict(value)
    css = f"verdict verdict-{which.name.lower()}" + (f" verdict-{size}" if size else "")
    return format_html('<span class="{}">{}{}</span>', css, icon(VERDICT_ICONS[which]), VERDICT_WORDS[which])


@register.simple_tag
def category(value: Category | int | str, url: str = "") -> SafeString:
    """The chip of a category; with a `url` it is a link (say, to the filter)."""
    which = as_category(value)
    inner = format_html("{}{}", icon(CATEGORY_ICONS[which]), CATEGORY_WORDS[which])
    return format_html('<a class="chip" href="{}">{}</a>', url, inner) if url else chip(inner)


@register.simple_tag
def chip(text: str, icon_name: str = "") -> SafeString:
    return format_html('<span class="chip">{}{}</span>', icon(icon_name) if icon_name else "", text)


_BROWSERS = (("Edg", "Edge"), ("Firefox", "Firefox"), ("Chrome", "Chrome"), ("Version", "Safari"))
_SYSTEMS = ("Windows", "Android", "iPhone", "iPad", "Mac OS", "Linux")


@register.filter
def browser_name(user_agent: str) -> str:
    """`Chrome 150, Linux` of a User-Agent header; the header's start where it is none that we know."""
    system = next((name for name in _SYSTEMS if name in user_agent), "")
    for token, name in _BROWSERS:
        if found := re.search(rf"{token}\w*/(\d+)", user_agent):
            return ", ".join(part for part in (f"{name} {found[1]}", system) if part)
    return user_agent[:60] or NO_VALUE


@register.filter
def verdict_word(value: Verdict | int | str) -> str:
    return str(VERDICT_WORDS[as_verdict(value)])


@register.filter
def category_word(value: Category | int | str) -> str:
    return str(CATEGORY_WORDS[as_category(value)])


@register.filter
def said_again(message: str) -> str:
    """The message of an error that was kept as text, in the page's language."""
    return words.said_again(message)


@register.simple_tag
def badge(text: str, kind: str = "", icon_name: str = "") -> SafeString:
    """A small word on a ground: `kind` is "", good, warn, bad or info."""
    css = f"badge badge-{kind}" if kind else "badge"
    return format_html('<span class="{}">{}{}</span>', css, icon(icon_name) if icon_name else "", text)


@register.simple_tag
def score(value: float | None, verdict_of: Verdict | int | str = "") -> SafeString:
    """A score from 0 to 1 as a bar and its number."""
    if value is None:
        return SafeString('<span class="muted">–</span>')
    tone = f"bar-{as_verdict(verdict_of).name.lower()}" if verdict_of != "" else ""
    return format_html('<span class="score">{}<span class="num">{}</span></span>', _bar(value, tone), f"{value:.3f}")


def _bar(share: float, tone: str = "") -> SafeString:
    width = f"{min(max(share, 0.0), 1.0) * 100:.1f}%"
    return format_html('<svg class="bar {}" aria-hidden="true"><rect width="{}" height="100%"/></svg>', tone, width)


# ------------------------------------------------------------------------------------------------------ page furniture


@register.simple_block_tag
def page_head(
    content: SafeString,
    title: str,
    answer: object = None,
    unit: str = "",
    label: str = "",
    lede: str = "",
    back_url: str = "",
    back_label: str = "",
) -> SafeString:
    """The top of a page: title, the one answer with its label, and what can be done (the block's content)."""
    return SafeString(render_to_string("components/page_head.html", {
        "title": title, "answer": answer, "unit": unit, "label": label, "lede": lede,
        "back_url": back_url, "back_label": back_label, "actions": content if content.strip() else "",
    }))  # fmt: skip


@register.simple_tag
def tile(
    label: str,
    value: object,
    unit: str = "",
    note: str = "",
    url: str = "",
    icon_name: str = "",
    delta: float | None = None,
    more_is: str = "",
    spark: Iterable[float] | None = None,
    tone: str = "plain",
) -> SafeString:
    """One figure. `delta` is a change as a share (0.12 = 12 % more); `more_is` good or bad colours it."""
    from mingbai.console.templatetags.charts import spark_svg

    direction = "" if not delta or not more_is else "good" if (delta > 0) == (more_is == "good") else "bad"
    return SafeString(render_to_string("components/tile.html", {
        "label": label, "value": value, "unit": unit, "note": note, "url": url, "icon_name": icon_name,
        "delta": None if delta is None else percent(abs(delta)), "delta_icon": _arrow(delta), "direction": direction,
        "delta_word": gettext("less") if delta is not None and delta < 0 else gettext("more"),
        "spark": spark_svg(list(spark), tone) if spark is not None else "",
    }))  # fmt: skip


def _arrow(delta: float | None) -> str:
    return "minus" if not delta else "arrow-up" if delta > 0 else "arrow-down"


@register.simple_block_tag
def notice(content: SafeString, kind: str = "info", title: str = "") -> SafeString:
    """A message that stays on the page: `kind` is info, good, warn or bad. Bad ones are announced at once."""
    if kind not in NOTICE_ICONS:
        raise BadValue(field="notice kind", value=kind, expected=", ".join(NOTICE_ICONS))
    return format_html(
        '<div class="notice notice-{}" role="{}">{}<div class="notice-body">{}<div>{}</div></div></div>',
        kind, "alert" if kind == "bad" else "note", icon(NOTICE_ICONS[kind]),
        format_html('<p class="notice-title">{}</p>', title) if title else "",
        content,
    )  # fmt: skip


@register.simple_block_tag
def empty(content: SafeString, icon_name: str, title: str, text: str = "", level: int = 2) -> SafeString:
    """Nothing here: why, and what to do next (the block's content). `level` 1 where it is the page's heading."""
    return format_html(
        '<div class="empty"><span class="empty-icon">{}</span><h{} class="empty-title">{}</h{}>{}{}</div>',
        icon(icon_name, "xl"), level, title, level,
        format_html("<p>{}</p>", text) if text else "",
        format_html('<div class="actions">{}</div>', content) if content.strip() else "",
    )  # fmt: skip


@register.simple_block_tag
def dialog(content: SafeString, id: str, title: str, wide: bool = False) -> SafeString:
    """A <dialog>; any element with data-open-dialog="id" opens it, any inside with data-close closes it."""
    return format_html(
        '<dialog class="dialog{}" id="{}" aria-labelledby="{}-title"><div class="dialog-head">'
        '<h2 id="{}-title">{}</h2><button type="button" class="btn btn-quiet btn-icon" data-close aria-label="{}">{}'
        '</button></div><div class="dialog-body">{}</div></dialog>',
        " dialog-wide" if wide else "", id, id, id, title, gettext("Close"), icon("x"),
        content,
    )  # fmt: skip


@register.simple_tag
def progress(label: str, share: float, note: str = "") -> SafeString:
    """A bar with words; `share` from 0 to 1."""
    value = round(min(max(share, 0.0), 1.0) * 100)
    return format_html(
        '<div class="progress" role="progressbar" aria-valuemin="0" aria-valuemax="100" aria-valuenow="{}" '
        'aria-label="{}"><div class="progress-head"><span>{}</span><span class="soft">{}</span></div>{}</div>',
        value, label, label, note or f"{value}%", _bar(share),
    )  # fmt: skip


@register.simple_tag
def masked(value: str, url: str = "", what: str = "") -> SafeString:
    """A value that is not shown in full; with a `url` (which asks for the reason) a button to see it."""
    if not url:
        return format_html('<span class="masked"><span class="masked-value">{}</span></span>', value)
    label = gettext("Show %(what)s: asks for a reason") % {"what": what or value}
    return format_html(
        '<span class="masked"><span class="masked-value">{}</span><a class="btn btn-quiet btn-icon btn-sm" href="{}" '
        'hx-get="{}" hx-target="#modal" hx-swap="innerHTML" role="button" aria-label="{}" title="{}">{}</a></span>',
        value, url, url, label, label, icon("eye"),
    )  # fmt: skip


@register.simple_tag
def copy(text: str, shown: str = "") -> SafeString:
    """A text with a button that copies it."""
    label = gettext("Copy")
    return format_html(
        '<span class="copyable"><span class="mono">{}</span><button type="button" class="btn btn-quiet btn-icon btn-sm"'
        ' data-copy="{}" aria-label="{}" title="{}">{}</button></span>',
        shown or text, text, label, label, icon("copy"),
    )  # fmt: skip


@register.simple_tag
def toast_icon(tags: str) -> SafeString:
    """The icon of one of Django's messages, by its level."""
    return icon(next((TOAST_ICONS[tag] for tag in tags.split() if tag in TOAST_ICONS), "info"))


# -------------------------------------------------------------------------------------------------------------- forms


@register.simple_tag
def field(bound: forms.BoundField, wide: bool = False, optional: bool = True) -> SafeString:
    """A form's field: label, input, help, errors at the place. Checkboxes stand before their label."""
    widget = bound.field.widget
    kind = getattr(widget, "input_type", "")
    if widget.is_hidden:
        return bound.as_widget()
    described = [f"{bound.id_for_label}_help"] if bound.help_text else []
    described += [f"{bound.id_for_label}_error"] if bound.errors else []
    attrs: dict[str, str | bool] = {"aria-describedby": " ".join(described)} if described else {}
    if widget.attrs.get("placeholder") == bound.label:
        attrs["placeholder"] = False  # a label said twice is noise; allauth's forms do
    if bound.errors:
        attrs["aria-invalid"] = "true"
    grouped = isinstance(widget, forms.RadioSelect | forms.CheckboxSelectMultiple)
    return SafeString(render_to_string("components/field.html", {
        "field": bound, "input": bound.as_widget(attrs=attrs), "is_check": kind == "checkbox" and not grouped,
        "is_group": grouped, "wide": wide, "show_optional": optional and not bound.field.required,
    }))  # fmt: skip


@register.simple_tag
def fields(form: forms.BaseForm) -> SafeString:
    """All fields of a form, its own errors first."""
    own = form_errors(form)
    hidden = joined(bound.as_widget() for bound in form.hidden_fields())
    return joined([own, hidden, *(field(bound) for bound in form.visible_fields())])


@register.simple_tag
def form_errors(form: forms.BaseForm) -> SafeString:
    """Errors that belong to no single field."""
    errors = [*form.non_field_errors(), *(e for bound in form.hidden_fields() for e in bound.errors)]
    if not errors:
        return SafeString("")
    items = format_html_join("", "<p>{}</p>", ((error,) for error in errors))
    return format_html(
        '<div class="notice notice-bad" role="alert">{}<div class="notice-body">{}</div></div>',
        icon("octagon-alert"), items,
    )  # fmt: skip


# -------------------------------------------------------------------------------------------------------------- frame


@register.inclusion_tag("components/pager.html")
def pager(
    previous_url: str = "", next_url: str = "", shown: int = 0, total: int | None = None, about: bool = False
) -> dict[str, object]:
    """Cursor pages: newer and older. `about` says that the total is an estimate."""
    return {"previous_url": previous_url, "next_url": next_url, "shown": shown, "total": total, "about": about}


@register.simple_tag
def ui_words() -> SafeString:
    """The few sentences that console.js says, in the page's language."""
    words: Mapping[str, str] = {
        "copied": gettext("Copied."),
        "failed": gettext("That did not work. Try again in a moment."),
        "offline": gettext("No connection. What you typed is still here."),
        "denied": gettext("You may not do this."),
        "expired": gettext("You have been signed out. Sign in again; what you typed is kept."),
        "restored": gettext("What you had typed is back."),
        "live": gettext("Live"),
        "polling": gettext("Every 5 seconds"),
        "off": gettext("Paused"),
        "close": gettext("Close"),
        "passkey": gettext("The passkey was not accepted. Try again, or sign in with your password."),
        "ago": gettext("%(time)s ago"),
        "ahead": gettext("in %(time)s"),
        "now": gettext("just now"),
        "s": gettext("%(n)s s"),
        "min": gettext("%(n)s min"),
        "h": gettext("%(n)s h"),
        "d": gettext("%(n)s d"),
    }
    return json_script(words, "ui-words")


@register.simple_tag
def new_id(prefix: str = "id") -> str:
    """An id that no other element has, also after a fragment came in: `{% new_id as box %}`."""
    return f"{prefix}-{token_hex(4)}"
