"""How the demo looks: each part answers one question, the answer first. From 80 columns on, with and without colour."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from mingbai.cli.demo_day import HOURS, Day, Shown
from mingbai.cli.demo_ledger import Proof
from mingbai.cli.explain import explanation
from mingbai.cli.labels import STYLES, category_word, finding_line, reason_words, verdict_text
from mingbai.cli.marks import marked
from mingbai.cli.summary import headline, percent, table, verdict_table
from mingbai.cli.words import _
from mingbai.engines.screening.campaigns import Counters
from mingbai.engines.screening.explain import explain
from mingbai.engines.screening.policy import Policy
from mingbai.kernel.masking import masked
from mingbai.kernel.verdicts import Category, Reason, Verdict

_CHART_ROWS = 7
_BLOCKS = " ▁▂▃▄▅▆▇█"


def title(messages: int, seed: int) -> RenderableType:
    said = _(
        "{messages} messages of one day at a small operator, made up from seed {seed}. Nobody wrote "
        "them, and no number in them is anybody's."
    )
    return Group(
        "",
        Text("明白  Mingbai", style="bold"),
        Text(said.format(messages=f"{messages:,}", seed=seed), style="dim"),
        "",
    )


def part(number: int, question: str) -> RenderableType:
    return Padding(Rule(Text(f"{number}  {question}", style="bold"), align="left", style="dim"), (1, 0, 1, 0))


# -- the day as it goes --


def live(day: Day, console: Console) -> RenderableType:
    clock = day.clock.strftime("%H:%M") if day.clock is not None else "00:00"
    counts = Text(f"{clock}  ", style="bold")
    counts.append(_("{count} messages").format(count=f"{day.done:,}"), style="bold")
    for verdict in reversed(Verdict):
        counts.append("   ").append_text(verdict_text(verdict)).append(f" {day.tally.verdicts[verdict]:,}")
    lines = [_line(shown, console) for shown in day.latest]
    lines += [Text("")] * (3 - len(lines))
    return Group(counts, "", chart(day), "", *lines)


def _line(shown: Shown, console: Console) -> Text:
    line = Text(f"{shown.time:%H:%M} ", style="dim").append_text(verdict_text(shown.verdict)).append(" ")
    line.append_text(marked(shown.text, shown.spans, shown.verdict, console))
    line.truncate(console.width, overflow="ellipsis")
    line.no_wrap = True
    return line


def chart(day: Day) -> Text:
    """Messages by hour, what was stopped on top."""
    total = day.by_hour.sum(axis=1)
    peak = max(int(total.max()), 1)
    result = Text()
    for level in range(_CHART_ROWS, 0, -1):
        for hour in range(HOURS):
            height = int(total[hour]) / peak * _CHART_ROWS
            passed = int(day.by_hour[hour, 0]) / peak * _CHART_ROWS
            fill = min(1.0, max(0.0, height - (level - 1)))
            # What was stopped shows in the topmost cell at least, however little it is.
            is_stopped = passed < height and ((level - 1) + fill / 2 > passed or level - 1 < height <= level)
            style = STYLES[Verdict.BLOCK] if is_stopped else STYLES[Verdict.ALLOW]
            result.append(_BLOCKS[round(fill * 8)] * 2 + " ", style=style.replace("bold ", ""))
        result.append("\n")
    for hour in range(0, HOURS, 3):
        result.append(f"{hour:02d}       ", style="dim")
    result.append("\n")
    result.append("██ ", style="green").append(_("passed") + "   ", style="dim")
    return result.append("██ ", style="red").append(_("stopped"), style="dim")


# -- at the end of it --


def answer(day: Day, console: Console) -> Iterator[RenderableType]:
    yield headline(day.tally)
    yield ""
    verdicts = verdict_table(day.tally)
    if console.width >= 118:
        yield Columns([chart(day), verdicts], padding=(0, 4))
    else:
        yield chart(day)
        yield verdicts
    said = _(
        "Deciding took {engine:.1f} s, recording {ledger:.1f} s (numbers and texts encrypted, every commit synced)."
    )
    yield Text(said.format(engine=day.engine_s, ledger=day.ledger_s), style="dim")


def stopped_examples(day: Day, console: Console) -> RenderableType:
    shown = day.examples(6)
    parts: list[RenderableType] = [part(1, _("What was stopped, and why"))]
    for one in shown:
        head = Text.assemble((f"{one.time:%H:%M}  ", "dim"), verdict_text(one.verdict), "  ")
        head.append(category_word(one.category), style="bold")
        head.append(f"  {one.score:.3f}", style="dim")
        parts.append(head)
        parts.append(Padding(marked(one.text, one.spans, one.verdict, console), (0, 0, 0, 7)))
        parts.append(Padding(Text(_why(one), style="dim"), (0, 0, 1, 7)))
    if not shown:
        parts.append(Text(_("Nothing was stopped on this day."), style="dim"))
    return Group(*parts)


def _why(shown: Shown) -> str:
    reasons = [reason_words(reason) for reason in shown.reasons if reason is not Reason.MODEL_LEGITIMATE]
    reasons += [_("rule {id}").format(id=rule) for rule in shown.rules]
    return "; ".join(reasons)


def campaigns(day: Day, console: Console) -> RenderableType:
    found = day.campaigns(5)
    parts: list[RenderableType] = [part(2, _("Which campaigns it belonged to"))]
    if not found:
        return Group(*parts, Text(_("No campaign was found."), style="dim"))
    for one in found:
        said = _("{messages} messages, {stopped} of them stopped · {senders} senders → {receivers} receivers")
        facts = said.format(messages=one.messages, stopped=one.stopped, senders=one.senders, receivers=one.receivers)
        peak = max(one.by_hour)
        spark = "".join(_BLOCKS[-(-count * 8 // peak)] for count in one.by_hour)
        span = f"{one.first:%H:%M}–{one.last:%H:%M}"
        parts.append(Text.assemble((f"{one.id:016x}"[:8], "cyan"), "  ", (spark, "red"), "  ", (span, "dim")))
        parts.append(Padding(Text(facts), (0, 0, 0, 10)))
        text = marked(masked(one.example.text), one.example.spans, one.example.verdict, console)
        parts.append(Padding(text, (0, 0, 1, 10)))
    said = _(
        "One campaign is one text, however its numbers, names, links and disguises change. Bars: hours of the day."
    )
    parts.append(Text(said, style="dim"))
    return Group(*parts)


def cases() -> list[tuple[str, str]]:
    """Three messages that a simple filter gets wrong, and what each shows."""
    return [
        (
            _("A warning of the police quotes the scam word by word, and must arrive."),
            "【反诈中心】警方提醒：凡是自称公检法要求将资金转入“安全账户”的，都是诈骗！请勿点击陌生链接，如有疑问请拨打96110。",
        ),
        (
            _("An offer in disguise: other characters, signs in between, digits as words."),
            "资⾦周转找我，无抵扌甲，当天放*款，加薇❤信：dk八八六③②，免-征-信秒❤到账",
        ),
        (
            _("A real code of a bank: it must arrive, whatever else it looks like."),
            "【招商银行】您正在进行转账5000.00元，验证码：482913，请勿泄露给他人，有效期5分钟。",
        ),
    ]


def hard_cases(policy: Policy, console: Console) -> RenderableType:
    texts = [text for _said, text in cases()]
    batch = pa.record_batch({"text": pa.array(texts, pa.string())})
    parts: list[RenderableType] = [part(3, _("Three hard cases"))]
    rules = {rule.id: rule for rule in policy.rules.rulebook.rules}
    for (said, _text), found in zip(cases(), explain(batch, policy, Counters(1)), strict=True):
        parts.append(Text(said, style="italic" if said.isascii() else "bold"))
        parts.append(Padding(explanation(found, rules, console), (0, 0, 1, 2)))
    return Group(*parts)


def truth(day: Day) -> RenderableType:
    found = day.truth()
    said = _(
        "{share} of the unwanted messages were stopped and {flagged} flagged; of {legitimate} "
        "legitimate ones {wrong} were stopped."
    )
    answer = said.format(
        share=percent(found.unwanted_stopped, found.unwanted),
        flagged=percent(found.unwanted_flagged, found.unwanted),
        legitimate=f"{found.legitimate:,}",
        wrong=f"{found.legitimate_stopped:,} ({100 * found.legitimate_stopped / max(1, found.legitimate):.2f} %)",
    )
    result = table(
        (_("Really is"), "left"),
        (_("Messages"), "right"),
        (_("Stopped"), "right"),
        (_("Flagged"), "right"),
        (_("Passed"), "right"),
    )
    for category in Category:
        messages, stopped, flagged = found.by_category[category]
        is_bad = category >= Category.ADVERTISING
        good = "green" if is_bad else ""
        wrong = "red" if not is_bad and stopped else good
        result.add_row(
            category_word(category),
            f"{messages:,}",
            Text(f"{stopped:,}", style=wrong),
            f"{flagged:,}",
            f"{messages - stopped - flagged:,}",
        )
    codes = _("Verification codes: {codes}, stopped: {stopped}.").format(codes=found.codes, stopped=found.codes_stopped)
    note = _(
        "The generator knows what each message is. It is ours, so these figures flatter; measure on "
        "your own traffic with mingbai evaluate."
    )
    return Group(part(4, _("Was it right?")), Text(answer, style="bold"), result, Text(codes), Text(note, style="dim"))


def proof(found: Proof, console: Console) -> RenderableType:
    stream = found.stream
    parts: list[RenderableType] = [part(5, _("Can it be proved?"))]
    if found.whole:
        said = _("✓ The ledger is whole: {rows} entries in {commits} commits, {heads} signed heads, one anchor.")
        line = said.format(rows=f"{stream.rows:,}", commits=stream.commits, heads=stream.heads)
        parts.append(Text(line, style="bold green"))
    else:
        parts.append(Text(_("✕ The ledger is not whole."), style="bold red"))
    parts.append(Text(_("signed by {key}").format(key=found.signed_by), style="dim", no_wrap=True, overflow="ellipsis"))
    said = _("In a copy we changed one bit: {path}, byte {offset}, {before:02x} → {after:02x}. Verification says:")
    changed = said.format(path=found.path, offset=f"{found.offset:,}", before=found.before, after=found.after)
    parts.append(Padding(Text(changed), (1, 0, 0, 0)))
    for finding in found.findings[:2]:
        parts.append(Padding(Text(f"✕ {finding_line(finding)}", style="red"), (0, 0, 0, 2)))
    if not found.findings:
        parts.append(Text(_("nothing: that is a fault"), style="bold red"))
    return Group(*parts)


def what_next(kept: Path | None) -> RenderableType:
    where = str(kept) if kept is not None else "demo"
    result = Table.grid(padding=(0, 3))
    rows = [
        (_("Explain a message of yours"), 'mingbai explain "…"'),
        (_("Screen a file"), "mingbai screen messages.csv --output decided.csv"),
        (_("Begin a rulebook, and check it"), "mingbai rules init && mingbai rules check rules.toml"),
    ]
    if kept is None:
        rows.append((_("Keep this day"), f"mingbai demo --data {where}"))
    rows += [
        (_("See what rules would change"), f"mingbai replay --rules rules.toml --data {where}"),
        (_("Ask the ledger"), f"mingbai ledger show --data {where}"),
    ]
    for said, command in rows:
        result.add_row(Text(said), Text(command, style="bold cyan"))
    return Group(part(6, _("What to try next")), result, "")
