"""A score between its thresholds, drawn. Presentation only."""

from __future__ import annotations

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from mingbai.kernel.verdicts import Verdict

register = template.Library()


@register.simple_tag
def score_scale(score: float, flag_at: float | None, block_at: float | None, verdict: Verdict) -> SafeString:
    """The scale from 0 to 1 with where flagging and blocking begin, and a pointer at the score."""
    lines = format_html_join(
        "",
        '<line class="threshold" x1="{}" x2="{}" y1="6" y2="24"/>'
        '<text class="threshold-label" x="{}" y="38" text-anchor="{}">{}</text>',
        ((at, at, at, anchor, word) for at, anchor, word in _thresholds(flag_at, block_at)),
    )
    label = gettext("Score %(score)s on a scale from 0 to 1") % {"score": f"{score:.3f}"}
    x = _place(min(max(score, 0.0), 1.0))
    return format_html(
        '<svg class="scale tone-{}" width="100%" height="42" role="img" aria-label="{}">'
        '<rect class="hbar-track" x="0" y="11" width="100%" height="8" rx="4"/>'
        '<rect class="hbar-fill" x="0" y="11" width="{}" height="8" rx="4"/>{}'
        '<circle class="hbar-fill" cx="{}" cy="15" r="6"/></svg>',
        verdict.label, label, x, lines, x,
    )  # fmt: skip


def _place(share: float) -> str:
    """Where a share stands on the scale; its ends leave room for the pointer."""
    return f"{1 + share * 98:.2f}%"


def _thresholds(flag_at: float | None, block_at: float | None) -> list[tuple[str, str, str]]:
    """Position, anchor and word of each threshold; close to each other, their words lean apart."""
    found = []
    is_close = flag_at is not None and block_at is not None and abs(block_at - flag_at) < 0.2
    if flag_at is not None:
        found.append((_place(flag_at), "end" if is_close or flag_at > 0.9 else "middle", gettext("Flag")))
    if block_at is not None:
        anchor = "end" if block_at > 0.9 and not is_close else "start" if is_close and block_at < 0.93 else "end"
        found.append((_place(block_at), anchor if block_at > 0.1 else "start", gettext("Block")))
    return found
