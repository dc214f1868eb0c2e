"""Charts as SVG made on the server: no script, no inline style, words at their size whatever the width.

Each carries a title, tooltips (`<title>`) and the same data as a table. Series differ by more than colour: lines by
their dashes, segments by their order and gaps, blocked ones by hatching; verdicts carry their icon in the legend.
Data are plain dictionaries, so that a context needs to know nothing of this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from secrets import token_hex

from django import template
from django.template.loader import render_to_string
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from mingbai.console.templatetags import plot, ui
from mingbai.console.templatetags.figures import compact, number, percent
from mingbai.console.templatetags.ui import joined
from mingbai.kernel.errors import BadValue
from mingbai.kernel.verdicts import Verdict

register = template.Library()

TONES = ("plain", "second", "third", "quiet", "allow", "flag", "hold", "block")
_DASHES = ("", "7 3", "2 3", "9 3 2 3")
_BAR_SHARE = 0.82  # of the width that a bar has; the rest is the gap
Given = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Series:
    label: str
    tone: str
    values: list[float | None]
    icon: str
    dash: str

    @property
    def total(self) -> float:
        return sum(value for value in self.values if value is not None)


def _series(given: Iterable[Given], labels: Sequence[object]) -> list[Series]:
    """`{"label", "values", "tone"}` or `{"verdict", "values"}`. Raises BadValue."""
    out: list[Series] = []
    for n, one in enumerate(given):
        values = list(one["values"]) if isinstance(one.get("values"), Iterable) else []  # type: ignore[call-overload]  # checked here
        plot.same_length(f"series {n} values", values, labels)
        verdict = one.get("verdict")
        which = ui.as_verdict(verdict) if isinstance(verdict, Verdict | int | str) else None
        tone = which.name.lower() if which is not None else str(one.get("tone") or TONES[n % 4])
        if tone not in TONES:
            raise BadValue(field=f"series {n} tone", value=tone, expected=", ".join(TONES))
        label = str(one.get("label") or (ui.VERDICT_WORDS[which] if which is not None else ""))
        icon = ui.VERDICT_ICONS[which] if which is not None else ""
        out.append(Series(label, tone, values, icon, _DASHES[n % len(_DASHES)]))
    return out


def _shown(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    if unit == "%":
        return percent(value)
    digits = 0 if float(value).is_integer() else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 3
    return number(value, digits) + (f" {unit}" if unit else "")


def _tick(value: float, unit: str) -> str:
    return f"{value * 100:g}%" if unit == "%" else compact(value)


def _figure(
    title: str, legend: Sequence[Series], drawing: SafeString, ticks: Sequence[float], unit: str, x_axis: SafeString,
    table: SafeString, height: str, is_line: bool = False,
) -> SafeString:  # fmt: skip
    """The frame around a plot: head with legend, axes as text, the table."""
    return SafeString(render_to_string("components/chart.html", {
        "id": f"chart-{token_hex(4)}", "title": title, "legend": legend if len(legend) > 1 else [], "is_line": is_line,
        "drawing": drawing, "y": [_tick(value, unit) for value in ticks], "x_axis": x_axis, "table": table,
        "height": height,
    }))  # fmt: skip


def _gridlines(count: int) -> SafeString:
    rows = ((f"{100 - n * 100 / (count - 1):.2f}%", "" if n else " gridline-base") for n in range(count))
    return format_html_join(
        "", '<line class="gridline{}" x1="0" x2="100%" y1="{}" y2="{}"/>', ((base, y, y) for y, base in rows)
    )


def _x_axis(words: Sequence[str], centred: bool) -> SafeString:
    """Few words under the plot; the outer ones are kept inside."""
    n = len(words)
    out = []
    for i in plot.x_ticks(n):
        x = (i + 0.5) * 100 / n if centred else i * 100 / max(1, n - 1)
        anchor = "start" if x < 4 else "end" if x > 96 else "middle"
        out.append((f"{x:.2f}%", anchor, words[i]))
    return format_html_join("", '<text x="{}" y="15" text-anchor="{}">{}</text>', out)


def _hits(words: Sequence[str], series: Sequence[Series], unit: str, centred: bool) -> SafeString:
    """Invisible columns that carry the tooltips."""
    n = len(words)
    width = 100 / max(1, n) if centred else 100 / max(1, n - 1)
    rows = []
    for i, word in enumerate(words):
        lines = [word, *(f"{one.label}: {_shown(one.values[i], unit)}" for one in series)]
        left = i * width if centred else i * width - width / 2
        rows.append((f"{left:.2f}%", f"{width:.2f}%", "\n".join(lines)))
    return format_html_join(
        "", '<rect class="hit" x="{}" y="0" width="{}" height="100%"><title>{}</title></rect>', rows
    )


def _table(head: str, words: Sequence[str], series: Sequence[Series], unit: str) -> SafeString:
    columns = format_html_join("", '<th scope="col" class="num">{}</th>', ((one.label,) for one in series))
    rows = format_html_join(
        "",
        '<tr><th scope="row">{}</th>{}</tr>',
        (
            (
                word,
                format_html_join("", '<td class="num">{}</td>', ((_shown(s.values[i], unit),) for s in series)),
            )
            for i, word in enumerate(words)
        ),
    )
    return format_html(
        '<table class="table table-dense"><thead><tr><th scope="col">{}</th>{}</tr></thead><tbody>{}</tbody></table>',
        head, columns, rows,
    )  # fmt: skip


@register.simple_tag
def line_chart(
    labels: Iterable[object], series: Iterable[Given], title: str, unit: str = "", height: str = "",
    area: bool = False, whole: bool = False, x_label: str = "",
) -> SafeString:  # fmt: skip
    """Lines over time. `labels` are datetimes (shown local) or words; a None in `values` is a gap.

    series: [{"label", "values", "tone"}] or [{"verdict", "values"}]. `unit` "%" takes shares. `area` fills below.
    """
    marks = list(labels)
    words = plot.x_words(marks)
    lines = _series(series, marks)
    highest = max((v for s in lines for v in s.values if v is not None), default=0.0)
    ticks = plot.y_ticks(highest, whole=whole)
    paths = [_line(one, ticks[-1], area) for one in lines]
    drawing = format_html(
        '{}<svg viewBox="0 0 100 100" preserveAspectRatio="none" width="100%" height="100%">{}</svg>{}',
        _gridlines(len(ticks)), joined(paths), _hits(words, lines, unit, centred=False),
    )  # fmt: skip
    table = _table(x_label or gettext("Time"), words, lines, unit)
    return _figure(title, lines, drawing, ticks, unit, _x_axis(words, False), table, height, is_line=True)


def _line(series: Series, top: float, area: bool) -> SafeString:
    out = []
    for run in plot.points(series.values, top):
        if len(run) == 1:  # a lone value would be a point without length
            run = [(max(run[0][0] - 0.4, 0.0), run[0][1]), (run[0][0] + 0.4, run[0][1])]
        path = " ".join(f"{x:g},{y:g}" for x, y in run)
        if area:
            floor = f"{run[-1][0]:g},100 {run[0][0]:g},100"
            out.append(format_html('<polygon class="area tone-{}" points="{} {}"/>', series.tone, path, floor))
        out.append(
            format_html(
                '<polyline class="line tone-{}" points="{}" stroke-dasharray="{}"/>',
                series.tone,
                path,
                series.dash or "none",
            )
        )
    return joined(out)


@register.simple_tag
def stacked_chart(
    labels: Iterable[object], series: Iterable[Given], title: str, unit: str = "", height: str = "", x_label: str = ""
) -> SafeString:
    """Columns over time, one segment a series, the first at the bottom. Arguments as `line_chart`."""
    marks = list(labels)
    words = plot.x_words(marks)
    layers = _series(series, marks)
    sums = [sum(one.values[i] or 0.0 for one in layers) for i in range(len(marks))]
    ticks = plot.y_ticks(max(sums, default=0.0))
    hatch = f"hatch-{token_hex(4)}"
    parts = [_hatching(hatch)]
    slot = 100 / max(1, len(marks))
    width = f"{slot * _BAR_SHARE:.3f}%"
    for i in range(len(marks)):
        floor = 100.0
        x = f"{(i + (1 - _BAR_SHARE) / 2) * slot:.3f}%"
        for one in layers:
            size = (one.values[i] or 0.0) * 100 / ticks[-1]
            if size <= 0:
                continue
            floor -= size
            parts.append(_segment(one.tone, x, f"{floor:.3f}%", width, f"{size:.3f}%", hatch))
    drawing = joined([_gridlines(len(ticks)), *parts, _hits(words, layers, unit, centred=True)])
    table = _table(x_label or gettext("Time"), words, layers, unit)
    return _figure(title, layers, drawing, ticks, unit, _x_axis(words, True), table, height)


def _hatching(name: str) -> SafeString:
    return format_html(
        '<defs><pattern id="{}" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<line class="hatch" x1="0" y1="0" x2="0" y2="5"/></pattern></defs>',
        name,
    )


def _segment(tone: str, x: str, y: str, width: str, height: str, hatch: str) -> SafeString:
    box = format_html('x="{}" y="{}" width="{}" height="{}"', x, y, width, height)
    plain = format_html('<rect class="segment tone-{}" {}/>', tone, box)
    return format_html('{}<rect {} fill="url(#{})"/>', plain, box, hatch) if tone == "block" else plain


@register.simple_tag
def histogram(
    edges: Sequence[float], series: Iterable[Given], title: str, unit: str = "", height: str = "",
    thresholds: Iterable[Given] = (), x_label: str = "",
) -> SafeString:  # fmt: skip
    """Distributions side by side. `edges` has one number more than each series has values.

    thresholds: [{"at": 0.83, "label": "Block"}], drawn as lines.
    """
    words = [f"{low:g}–{high:g}" for low, high in pairwise(edges)]
    groups = _series(series, words)
    ticks = plot.y_ticks(max((v or 0.0 for s in groups for v in s.values), default=0.0))
    parts: list[SafeString] = []
    slot = 100 / max(1, len(words))
    width = slot * _BAR_SHARE / max(1, len(groups))
    for n, one in enumerate(groups):
        for i, value in enumerate(one.values):
            size = (value or 0.0) * 100 / ticks[-1]
            x = i * slot + slot * (1 - _BAR_SHARE) / 2 + n * width
            parts.append(_segment(one.tone, f"{x:.3f}%", f"{100 - size:.3f}%", f"{width:.3f}%", f"{size:.3f}%", "none"))
    lines = [_threshold(edges, one) for one in thresholds]
    drawing = joined([_gridlines(len(ticks)), *parts, *lines, _hits(words, groups, unit, centred=True)])
    at_edges = _x_axis([f"{edge:g}" for edge in edges], centred=False)
    table = _table(x_label or gettext("From–to"), words, groups, unit)
    return _figure(title, groups, drawing, ticks, unit, at_edges, table, height)


def _threshold(edges: Sequence[float], given: Given) -> SafeString:
    at = given["at"]
    if not isinstance(at, int | float) or not edges[0] <= at <= edges[-1]:
        raise BadValue(field="threshold", value=at, expected=f"a number from {edges[0]:g} to {edges[-1]:g}")
    share = (at - edges[0]) * 100 / (edges[-1] - edges[0])
    x, anchor, shift = f"{share:.2f}%", "end" if share > 50 else "start", -5 if share > 50 else 5
    return format_html(
        '<line class="threshold" x1="{}" x2="{}" y1="0" y2="100%"/>'
        '<text class="threshold-label" x="{}" dx="{}" y="11" text-anchor="{}">{}</text>',
        x, x, x, shift, anchor, given.get("label", ""),
    )  # fmt: skip


@register.simple_tag
def bar_list(rows: Iterable[Given], title: str, unit: str = "", tone: str = "plain", head: str = "") -> SafeString:
    """Horizontal bars, longest first as given. rows: [{"label", "value", "url", "tone" or "verdict", "note"}]."""
    given = list(rows)
    values = [float(row["value"]) for row in given]  # type: ignore[arg-type]  # float refuses what is no number
    top = max(values, default=0.0) or 1.0
    items = []
    for row, value in zip(given, values, strict=True):
        verdict = row.get("verdict")
        which = ui.as_verdict(verdict) if isinstance(verdict, Verdict | int | str) else None
        shade = which.name.lower() if which is not None else str(row.get("tone") or tone)
        if shade not in TONES:
            raise BadValue(field="tone", value=shade, expected=", ".join(TONES))
        items.append({
            "label": row.get("label") or (ui.VERDICT_WORDS[which] if which is not None else ""), "tone": shade,
            "icon": ui.VERDICT_ICONS[which] if which is not None else "", "url": row.get("url"),
            "width": f"{value * 100 / top:.2f}%", "shown": _shown(value, unit), "note": row.get("note"),
        })  # fmt: skip
    return SafeString(render_to_string("components/bar_list.html", {"title": title, "items": items, "head": head}))


def spark_svg(values: Sequence[float], tone: str = "plain", inline: bool = False) -> SafeString:
    """A line without axes. Decoration: the figure it belongs to says the number."""
    if tone not in TONES:
        raise BadValue(field="tone", value=tone, expected=", ".join(TONES))
    if len(values) < 2:
        return SafeString("")
    low, high = min(values), max(values)
    reach = (high - low) or 1.0
    points = " ".join(
        f"{i * 100 / (len(values) - 1):.2f},{94 - (value - low) * 88 / reach:.2f}" for i, value in enumerate(values)
    )
    css = "spark spark-inline" if inline else "spark"
    return format_html(
        '<svg class="{} tone-{}" viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">'
        '<polygon class="area" points="{} 100,100 0,100"/><polyline class="line" points="{}"/></svg>',
        css, tone, points, points,
    )  # fmt: skip


@register.simple_tag
def spark(values: Iterable[float], tone: str = "plain") -> SafeString:
    """A small line for a row of a table."""
    return spark_svg(list(values), tone, inline=True)
