"""Numbers and times as people read them, in the page's language.

Thousands are grouped by commas in both languages; what is shortened uses K, M, B in English and 万, 亿 in Chinese. A
time is shown relative, with the exact one at hand (`<time datetime title>`). The units are those of CLDR.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django import template
from django.utils import formats, timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import get_language, gettext

from mingbai.kernel.clock import utc_now

register = template.Library()

NO_VALUE = "–"
Number = int | float
# Where a relative time stops helping and the date says more.
_RELATIVE_UNTIL = timedelta(days=30)


def is_chinese() -> bool:
    return (get_language() or "").startswith("zh")


@register.filter
def number(value: Number | None, digits: int = 0) -> str:
    """1234567 as `1,234,567`; with `digits` decimals. None is a dash."""
    return NO_VALUE if value is None else f"{value:,.{digits}f}"


@register.filter
def compact(value: Number | None) -> str:
    """A number of at most four characters and its unit: 1.2K, 34M, 1.2万, 3.4亿."""
    if value is None:
        return NO_VALUE
    steps = ((1e8, "亿"), (1e4, "万")) if is_chinese() else ((1e9, "B"), (1e6, "M"), (1e3, "K"))
    for size, unit in steps:
        if abs(value) >= size:
            shown = value / size
            return f"{shown:,.{1 if abs(shown) < 100 else 0}f}".removesuffix(".0") + unit
    return f"{value:,.{0 if value == int(value) else 1 if abs(value) >= 10 else 2}f}"


@register.filter
def percent(share: float | None, digits: int = 1) -> str:
    """0.1234 as `12.3%`."""
    return NO_VALUE if share is None else f"{share * 100:,.{digits}f}%"


@register.filter
def duration(seconds: float | timedelta | None) -> str:
    """Seconds as the largest unit that says it: `1.8 ms`, `42 s`, `5 min`, `3 h`, `2 d`."""
    if seconds is None:
        return NO_VALUE
    value = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
    if abs(value) < 1:
        shown = f"{value * 1000:.{1 if abs(value) < 0.01 else 0}f}"
        return gettext("%(n)s ms") % {"n": shown}
    if abs(value) < 90:
        return gettext("%(n)s s") % {"n": f"{value:.{1 if abs(value) < 10 else 0}f}".removesuffix(".0")}
    if abs(value) < 90 * 60:
        return gettext("%(n)s min") % {"n": f"{value / 60:.0f}"}
    if abs(value) < 48 * 3600:
        return gettext("%(n)s h") % {"n": f"{value / 3600:.0f}"}
    return gettext("%(n)s d") % {"n": f"{value / 86400:,.0f}"}


@register.filter
def filesize(count: int | None) -> str:
    """Bytes in the decimal units of disks: `1.5 GB`."""
    if count is None:
        return NO_VALUE
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(value) < 1000 or unit == "TB":
            return f"{value:.{0 if unit == 'B' or value >= 100 else 1}f} {unit}"
        value /= 1000
    raise AssertionError("the last unit always returns")


@register.filter
def exact(moment: datetime | None) -> str:
    """The moment in the reader's time zone, to the second: `2026-11-24 08:00:12`. The same in both languages."""
    return NO_VALUE if moment is None else timezone.localtime(moment).strftime("%Y-%m-%d %H:%M:%S")


def relative(moment: datetime, now: datetime) -> str:
    """`3 min ago`, `in 5 s`, or the date once a month has passed."""
    ahead = moment > now
    distance = abs(moment - now)
    if distance < timedelta(seconds=5) and not ahead:
        return gettext("just now")
    if distance > _RELATIVE_UNTIL:
        return formats.date_format(timezone.localtime(moment), "DATE_FORMAT" if not is_chinese() else "Y年n月j日")
    words = {"time": duration(float(round(distance.total_seconds())))}
    return gettext("in %(time)s") % words if ahead else gettext("%(time)s ago") % words


@register.simple_tag(takes_context=True)
def when(context: template.Context, moment: datetime | None, empty: str = NO_VALUE) -> SafeString:
    """A `<time>`: relative words, the exact time as its title. The context's `now`, if it has one, is the present."""
    if moment is None:
        return format_html('<span class="muted">{}</span>', empty)
    now = context.get("now")
    shown = relative(moment, now if isinstance(now, datetime) else utc_now())
    return format_html(
        '<time datetime="{}" title="{}" data-relative>{}</time>', moment.isoformat(), exact(moment), shown
    )
