"""A page that shows every component once, and the small site around it: what the look is tested and looked at on.

`ROOT_URLCONF=tests.console.kitchen` serves it at `/_kitchen`.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import include, path
from django.utils.translation import gettext_lazy as _

from mingbai.console import views
from mingbai.contexts.people.rights import public
from mingbai.kernel.verdicts import Category, Verdict

NOW = datetime(2026, 11, 24, 15, 30, 0, tzinfo=UTC)
TEXT = "【工行】您的积分即将过期，加薇信 abc123 领取，或点 gonghang。top/x 查看。"
ENGLISH = "Your parcel is held at customs. Pay 2.99 at http://pkg-fee.example to release it today."
RULES = """version = 3

[[rule]]
id = "points"
action = "hold"
keywords = ["积分", "领取"]

[[rule]]
id = "loan"
action = "block"
"""
PAGES = (
    ("o", "layout-dashboard", _("Overview")),
    ("m", "messages-square", _("Messages")),
    ("c", "megaphone", _("Campaigns")),
    ("r", "list-checks", _("Review desk")),
    ("b", "scroll-text", _("Rulebook")),
    ("d", "brain-circuit", _("Model")),
    ("p", "users", _("People")),
    ("a", "file-clock", _("Audit")),
)


class Kitchen(forms.Form):
    sender = forms.CharField(label="Sender", help_text="A number or an access code, such as 106900001234.")
    verdict = forms.ChoiceField(label="Verdict", choices=[("", "any"), ("block", "block")], required=False)
    note = forms.CharField(label="Reason", widget=forms.Textarea(attrs={"rows": 3}))
    urgent = forms.BooleanField(label="Tell the rule's owner", required=False)
    scope = forms.ChoiceField(label="Applies to", widget=forms.RadioSelect, choices=[("1", "one"), ("2", "campaign")])


def _wave(n: int, size: float, shift: float) -> list[float]:
    return [round(size * (1.2 + math.sin(i / 4 + shift) + 0.3 * math.sin(i * 1.7)), 1) for i in range(n)]


def context() -> dict[str, Any]:  # Any: what templates take
    hours = [NOW - timedelta(hours=23 - i) for i in range(24)]
    return {
        "now": NOW,
        "nav": [
            {"url": f"#{key}" if n else "/_kitchen", "icon": icon, "label": label, "is_current": not n, "key": key,
             "badge": "12" if key == "r" else ""}
            for n, (key, icon, label) in enumerate(PAGES)
        ],
        "search_url": "/_kitchen",
        "verdicts": list(Verdict),
        "categories": list(Category),
        "hours": hours,
        "by_verdict": [
            {"verdict": Verdict.ALLOW, "values": _wave(24, 900, 0)},
            {"verdict": Verdict.FLAG, "values": _wave(24, 90, 1)},
            {"verdict": Verdict.HOLD, "values": _wave(24, 60, 2)},
            {"verdict": Verdict.BLOCK, "values": _wave(24, 210, 3)},
        ],
        "latency": [
            {"label": "p50", "values": _wave(24, 0.8, 0)},
            {"label": "p99", "values": [v if i not in (10, 11) else None for i, v in enumerate(_wave(24, 2.1, 2))]},
        ],
        "growth": [{"label": _("Messages"), "values": [round(4 * 1.37**i) for i in range(24)], "tone": "block"}],
        "edges": [i / 10 for i in range(11)],
        "scores": [
            {"label": "legitimate", "values": [820, 210, 90, 40, 22, 12, 8, 4, 2, 1], "tone": "allow"},
            {"label": "unwanted", "values": [2, 4, 6, 9, 14, 24, 60, 130, 320, 610], "tone": "block"},
        ],
        "thresholds": [{"at": 0.5, "label": _("Flag")}, {"at": 0.83, "label": _("Block")}],
        "top": [
            {"label": "积分兑换 · 加薇信领取", "value": 18234, "url": "#", "note": "312 ↑"},
            {"label": "Low interest loan, no questions asked, call today", "value": 9120, "url": "#"},
            {"label": "发票代开 税点优惠", "value": 4410, "url": "#"},
            {"label": "Parcel held: pay the fee", "value": 812, "url": "#"},
        ],
        "shares": [
            {"verdict": Verdict.BLOCK, "value": 0.123}, {"verdict": Verdict.HOLD, "value": 0.021},
            {"verdict": Verdict.FLAG, "value": 0.034}, {"verdict": Verdict.ALLOW, "value": 0.822},
        ],
        "rows": [
            {"verdict": Verdict(i % 4), "category": Category(i % 5), "text": TEXT if i % 2 else ENGLISH,
             "score": 0.03 + i * 0.11, "time": NOW - timedelta(seconds=17 * i * i + 2),
             "sender": f"138****{1000 + i * 37}", "spark": _wave(12, 3, i)}
            for i in range(8)
        ],
        "text": TEXT,
        "spans": [
            {"start": 14, "end": 16, "read_as": "微信", "why": _("read as %(text)s") % {"text": "微信"}, "weight": 3},
            {"start": 17, "end": 23, "why": "contact number", "weight": 1},
            {"start": 30, "end": 44, "read_as": "gonghang.top/x", "why": "hidden link", "weight": 3},
        ],
        "variant": TEXT.replace("abc123", "abd456").replace("查看", "立即查看"),
        "old_rules": RULES,
        "new_rules": RULES.replace("= 3", "= 4").replace('"hold"', '"block"').replace('"领取"', '"领取", "兑换"'),
        "form": Kitchen({"sender": "", "note": "", "scope": "1"}),
        "answer": 128340, "rate": [12, 14, 13, 18, 22, 21, 25, 24, 27, 31, 30, 34],
    }  # fmt: skip


@public
def kitchen(request: HttpRequest) -> HttpResponse:
    if "toast" in request.GET:
        messages.success(request, _("Copied."))
        messages.error(request, _("That did not work. Try again in a moment."))
    return render(request, "console/kitchen.html", context())


@public
def broken(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("on purpose")


urlpatterns = [
    path("", kitchen, name="home"),
    path("_kitchen", kitchen, name="kitchen"),
    path("_broken", broken),
    path("language/", views.set_language, name="set_language"),
    path("theme/", views.set_theme, name="set_theme"),
    path("accounts/", include("mingbai.console.account_urls")),
]
handler400, handler403 = "mingbai.console.views.bad_request", "mingbai.console.views.permission_denied"
handler404, handler500 = "mingbai.console.views.page_not_found", "mingbai.console.views.server_error"
