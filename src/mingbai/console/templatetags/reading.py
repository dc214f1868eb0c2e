"""Messages as a reviewer reads them: what was recognised is marked in the original, differences carry a sign.

Never by colour alone: a mark is underlined and says what it was read as; an insertion has a plus, a deletion a minus.
All text comes from senders and is escaped here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher
from secrets import token_hex

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from mingbai.console.templatetags.ui import joined
from mingbai.kernel.errors import BadValue

register = template.Library()

# A Latin word or number is one piece, every other character is a piece of its own: Chinese has no spaces to cut at.
_PIECE = re.compile(r"[A-Za-z0-9_]+|\s+|.", re.DOTALL)
_CONTEXT_LINES = 3
_MAX_WEIGHT = 3


@register.simple_tag
def marked(text: str, spans: Iterable[Mapping[str, object]]) -> SafeString:
    """The text with its spans marked.

    Each span: `start`, `end` (characters of `text`, end exclusive), and where known `read_as` (what the engine read it
    as), `why` (plain words) and `weight` (1 to 3). Overlaps are cut: the span that starts first wins.
    Raises BadValue for a span outside the text.
    """
    out: list[SafeString] = []
    at = 0
    for span in sorted(spans, key=lambda span: _position(span, "start", text)):
        start, end = max(_position(span, "start", text), at), _position(span, "end", text)
        if end <= start:
            continue
        out.append(format_html("{}", text[at:start]))
        out.append(_mark(text[start:end], span))
        at = end
    out.append(format_html("{}", text[at:]))
    return joined(out)


def _position(span: Mapping[str, object], key: str, text: str) -> int:
    value = span.get(key)
    if not isinstance(value, int) or not 0 <= value <= len(text):
        raise BadValue(field=f"span.{key}", value=value, expected=f"a whole number from 0 to {len(text)}")
    return value


def _mark(piece: str, span: Mapping[str, object]) -> SafeString:
    read_as = str(span.get("read_as") or "")
    why = str(span.get("why") or "")
    weight = span.get("weight")
    level = min(max(weight, 1), _MAX_WEIGHT) if isinstance(weight, int) else 2
    shown = format_html("{}", piece)
    if read_as and read_as != piece:
        shown = format_html("<ruby>{}<rt>{}</rt></ruby>", piece, read_as)
        why = why or gettext("read as %(text)s") % {"text": read_as}
    if not why:
        return format_html('<mark class="marked weight-{}">{}</mark>', level, shown)
    note = f"mark-{token_hex(4)}"
    return format_html(
        '<mark class="marked weight-{}" tabindex="0" aria-describedby="{}">{}'
        '<span class="marked-note" role="tooltip" id="{}">{}</span></mark>',
        level, note, shown, note, why,
    )  # fmt: skip


@register.simple_tag
def diff(old: str, new: str) -> SafeString:
    """Two versions of a message in one line of text: `<del>` and `<ins>` around what differs."""
    before, after = _PIECE.findall(old), _PIECE.findall(new)
    out: list[SafeString] = []
    for kind, i, j, k, m in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "equal":
            out.append(format_html("{}", "".join(before[i:j])))
            continue
        if j > i:
            out.append(format_html("<del>{}</del>", "".join(before[i:j])))
        if m > k:
            out.append(format_html("<ins>{}</ins>", "".join(after[k:m])))
    return format_html('<span class="diff">{}</span>', joined(out))


@register.simple_tag
def diff_lines(old: str, new: str) -> SafeString:
    """Two versions of a file, line by line: old and new line number, sign, line. Unchanged stretches are folded."""
    before, after = old.splitlines(), new.splitlines()
    rows: list[tuple[str, str, str, str, str]] = []
    groups = SequenceMatcher(None, before, after, autojunk=False).get_grouped_opcodes(_CONTEXT_LINES)
    for group in groups:
        if rows:
            rows.append(("skipped", "", "", "", "…"))
        for kind, i, j, k, m in group:
            if kind == "equal":
                rows += [("", str(i + n + 1), str(k + n + 1), "", before[i + n]) for n in range(j - i)]
                continue
            rows += [("removed", str(n + 1), "", "−", before[n]) for n in range(i, j)]
            rows += [("added", "", str(n + 1), "+", after[n]) for n in range(k, m)]
    if not rows:
        return format_html('<p class="muted">{}</p>', gettext("No differences."))
    head = format_html(
        '<thead class="visually-hidden"><tr><th scope="col">{}</th><th scope="col">{}</th><th scope="col">{}</th>'
        '<th scope="col">{}</th></tr></thead>',
        gettext("old line"), gettext("new line"), gettext("change"), gettext("text"),
    )  # fmt: skip
    body = format_html_join(
        "",
        '<tr class="{}"><td class="no">{}</td><td class="no">{}</td><td class="sign">{}</td><td>{}</td></tr>',
        rows,
    )
    return format_html(
        '<div class="diff-lines" tabindex="0" role="region" aria-label="{}"><table>{}<tbody>{}</tbody></table></div>',
        gettext("Differences"), head, body,
    )  # fmt: skip
