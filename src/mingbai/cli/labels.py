"""Verdicts, categories, reasons and findings as people read them: a verdict is an icon, a word and a colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from mingbai.cli.details import translated
from mingbai.cli.words import _
from mingbai.kernel.verdicts import Category, Reason, Verdict

if TYPE_CHECKING:
    from mingbai.ledger import Fault, Finding

ICONS = {Verdict.ALLOW: "✓", Verdict.FLAG: "⚑", Verdict.HOLD: "?", Verdict.BLOCK: "✕"}
STYLES = {Verdict.ALLOW: "green", Verdict.FLAG: "yellow", Verdict.HOLD: "magenta", Verdict.BLOCK: "bold red"}


def verdict_word(verdict: Verdict) -> str:
    return {
        Verdict.ALLOW: _("allow"),
        Verdict.FLAG: _("flag"),
        Verdict.HOLD: _("hold"),
        Verdict.BLOCK: _("block"),
    }[verdict]


def verdict_text(verdict: Verdict) -> Text:
    return Text(f"{ICONS[verdict]} {verdict_word(verdict)}", style=STYLES[verdict])


def category_word(category: Category) -> str:
    return {
        Category.PERSONAL: _("personal"),
        Category.NOTIFICATION: _("notification"),
        Category.ADVERTISING: _("advertising"),
        Category.FRAUD: _("fraud"),
        Category.ILLEGAL_TRADE: _("illegal trade"),
    }[category]


def reason_words(reason: Reason) -> str:
    """A reason in plain words."""
    return {
        Reason.MODEL_LEGITIMATE: _("the model takes it for legitimate"),
        Reason.MODEL_SPAM: _("the model's score passed the blocking threshold"),
        Reason.MODEL_DOUBTFUL: _("the model is in doubt: its score lies between the thresholds"),
        Reason.MODEL_SECOND_STAGE: _("a second, closer look decided"),
        Reason.RULE_KEYWORD: _("a rule's keyword is in it"),
        Reason.RULE_REGEX: _("a rule's pattern matches"),
        Reason.RULE_URL: _("it has a link that a rule names"),
        Reason.RULE_NUMBER: _("it has a number or contact that a rule names"),
        Reason.RULE_CONDITION: _("a rule's conditions hold"),
        Reason.RULE_ALLOW: _("an allow rule lets it pass"),
        Reason.RULE_FREED: _("a person freed exactly this message"),
        Reason.URL_LOOKALIKE: _("its link imitates a protected brand"),
        Reason.URL_SHORTENER: _("its link hides behind a shortener"),
        Reason.URL_RAW_ADDRESS: _("its link is a bare network address"),
        Reason.URL_HIDDEN: _("its link is written so that a filter misses it"),
        Reason.URL_NEW_HOST: _("its link leads to a host not seen before"),
        Reason.CAMPAIGN_BURST: _("the same text came from many senders or went to many receivers"),
        Reason.EVASION: _("it is written to get past a filter"),
        Reason.PROTECTED_CODE: _("it is a verification code, which the model alone may not block"),
        Reason.UNSCREENED: _("it could not be screened, and so it passed"),
        Reason.TRUNCATED: _("it is over-long: only its first part was read"),
        Reason.UNREADABLE: _("it is binary or damaged: nobody can say what it says"),
        Reason.FIELD_ABSENT: _("a rule was not applied: the message does not bring the field that it looks at"),
    }[reason]


def finding_line(finding: Finding) -> str:
    """A finding in one line: what kind of fault, where, what."""
    place = [finding.path]
    if finding.offset is not None:
        place.append(_("byte {offset}").format(offset=finding.offset))
    if finding.commit is not None:
        place.append(_("commit {commit}").format(commit=finding.commit))
    if finding.first_seq is not None:
        first, last = finding.first_seq, finding.last_seq
        rows = _("row {first}") if last == first else _("rows {first}") if last is None else _("rows {first}-{last}")
        place.append(rows.format(first=first, last=last))
    return f"{finding.stream}: {fault_word(finding.fault)}: {', '.join(place)}: {translated(finding.what)}"


def fault_word(fault: Fault) -> str:
    return {
        "changed": _("changed"),
        "missing": _("missing"),
        "added": _("added"),
        "out_of_order": _("out_of_order"),
        "torn": _("torn"),
        "anchor": _("anchor"),
        "signature": _("signature"),
    }[fault.value]
