"""`mingbai explain`: one decision, with the words that weighed and what they were read as."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from mingbai.cli.console import show_alarms, stdout
from mingbai.cli.fast_start import leave_out_unused
from mingbai.cli.labels import ICONS, STYLES, category_word, reason_words, verdict_word
from mingbai.cli.marks import marked, visible
from mingbai.cli.words import _
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import BadValue
from mingbai.kernel.verdicts import Reason, Verdict
from mingbai.settings import load_settings

if TYPE_CHECKING:
    from mingbai.engines.screening.explain import Explanation
    from mingbai.engines.screening.rulebook_types import Rule

_SCALE_WIDTH = 40


def explain(
    text: Annotated[str, Parameter(allow_leading_hyphen=True, help=_("The message; - reads it from standard input."))],
    /,
    *,
    sender: Annotated[str | None, Parameter(help=_("Number of the sender."))] = None,
    receiver: Annotated[str | None, Parameter(help=_("Number of the receiver."))] = None,
    access_code: Annotated[str | None, Parameter(help=_("Access code that it came through."))] = None,
    imsi: Annotated[str | None, Parameter(help=_("IMSI of the sender, of a message between persons."))] = None,
    msc: Annotated[str | None, Parameter(help=_("Number or address of the MSC that it was sent from."))] = None,
    cell: Annotated[str | None, Parameter(help=_("Cell that it was sent from."))] = None,
    device: Annotated[str | None, Parameter(help=_("IMEI of the sender's device, or its first 8 digits."))] = None,
    rules: Annotated[Path | None, Parameter(help=_("Rulebook; left out, the one that is set, or none."))] = None,
    model: Annotated[
        Path | None, Parameter(help=_("Model; left out, the one that is set, or the shipped one."))
    ] = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=(), help=_("As JSON, for programs."))] = False,
) -> int:
    """Exit code: 0 explained, 2 not."""
    settings = load_settings()
    show_alarms()
    message = sys.stdin.read().rstrip("\n") if text == "-" else text
    if not message.strip():
        raise BadValue(field="TEXT", value=message, expected="a message")

    leave_out_unused()
    import pyarrow as pa

    from mingbai.connectors.policies import read_policy
    from mingbai.engines.screening.campaigns import Counters
    from mingbai.engines.screening.explain import document
    from mingbai.engines.screening.explain import explain as explain_batch

    source = read_policy(
        rulebook=rules or settings.screening.rulebook, model=model or settings.screening.model, now=utc_now()
    )
    policy = source.policy()
    fields = {"text": message, "sender": sender, "receiver": receiver, "access_code": access_code}
    fields |= {"imsi": imsi, "msc": msc, "cell": cell, "device": device}
    batch = pa.record_batch({name: pa.array([value], pa.string()) for name, value in fields.items()})
    (found,) = explain_batch(batch, policy, Counters(1))
    written = source.rulebook.rules if source.rulebook is not None else ()
    by_id = {rule.id: rule for rule in written}
    if as_json:
        print(json.dumps(document(found, by_id, policy.versions), ensure_ascii=False, indent=1))
    else:
        console = stdout()
        console.print(explanation(found, by_id, console))
        versions = _("model {model}, rulebook {rulebook}").format(**policy.versions)
        console.print(Padding(Text(versions, style="dim"), (1, 2)))
    return 0


def explanation(found: Explanation, rules: dict[str, Rule], console: Console) -> RenderableType:
    """An explanation for the eye: the answer, the marked text, why, and what would change it."""
    style = STYLES[found.verdict]
    answer = Text.assemble(
        (f" {ICONS[found.verdict]} {verdict_word(found.verdict)} ", f"{style} reverse"),
        "  ",
        (category_word(found.category), "bold"),
    )
    parts: list[RenderableType] = [answer, Padding(marked(found.text, found.spans, found.verdict, console), (1, 2))]
    parts += [Padding(line, (0, 2)) for line in _readings(found)]
    parts.append(Padding(_scale(found), (1, 2)))
    parts += [Padding(line, (0, 2)) for line in _whys(found, rules)]
    parts.append(Padding(_change(found), (1, 2, 0, 2)))
    return Group(*parts)


def _readings(found: Explanation) -> list[Text]:
    """What was written, and what it was read as, where the two differ."""
    lines = []
    if Reason.EVASION in found.reasons or any(item.is_read_otherwise for item in found.evidence):
        lines.append(Text.assemble((f"{_('read as')}  ", "dim"), (visible(found.read_as), "")))
    for item in found.evidence:
        if item.is_read_otherwise and item.read_as:
            lines.append(
                Text.assemble(
                    (visible(item.written.strip()), STYLES[found.verdict]),
                    (f"  {_('was read as')}  ", "dim"),
                    (visible(item.read_as), "bold"),
                )
            )
    return lines


def _scale(found: Explanation) -> Text:
    """The score between 0 and 1, with both thresholds."""
    cells = ["─"] * (_SCALE_WIDTH + 1)
    for threshold, sign in ((found.flag_at, "┬"), (found.block_at, "┼")):
        cells[round(threshold * _SCALE_WIDTH)] = sign
    here = round(found.score * _SCALE_WIDTH)
    line = Text("0 ", style="dim")
    for at, cell in enumerate(cells):
        line.append("●" if at == here else cell, style=STYLES[found.verdict] if at == here else "dim")
    line.append(" 1\n", style="dim")
    said = _("score {score:.3f} · flagged from {flag:.3f} · blocked from {block:.3f}")
    return line.append(said.format(score=found.score, flag=found.flag_at, block=found.block_at))


def _whys(found: Explanation, rules: dict[str, Rule]) -> list[Text]:
    lines = [
        Text.assemble("· ", reason_words(reason), (f"  {reason.label}", "dim"))
        for reason in found.reasons
        if reason is not Reason.MODEL_LEGITIMATE or found.verdict is Verdict.ALLOW
    ]
    for rule in found.rules:
        line = Text.assemble("· ", _("rule {id}").format(id=rule))
        if rule in rules:
            line.append(f": {rules[rule].reason}").append(f"  ({rules[rule].owner})", style="dim")
        lines.append(line)
    for rule in found.not_applied:
        line = Text.assemble("· ", _("rule {id} was not applied: a field is absent").format(id=rule))
        if rule in rules:
            line.append(f": {rules[rule].reason}").append(f"  ({rules[rule].owner})", style="dim")
        lines.append(line)
    return lines


def _change(found: Explanation) -> Text:
    """What would have to be different for another verdict."""
    without = found.without
    if without is not None and without.verdict != found.verdict:
        said = _("Without the marked words its score is {score:.3f}, and the verdict: {verdict}.")
        return Text(said.format(score=without.score, verdict=verdict_word(without.verdict)))
    if without is not None:
        said = _("Without the marked words its score is {score:.3f}; the verdict stays: {verdict}.")
        return Text(said.format(score=without.score, verdict=verdict_word(without.verdict)))
    nearest = found.flag_at if found.score < found.flag_at else found.block_at
    if found.score < nearest:
        said = _("Its score would have to rise by {distance:.3f} to {threshold:.3f} for the next verdict.")
        return Text(said.format(distance=nearest - found.score, threshold=nearest))
    return Text(_("Only a rule, or another text, would change the verdict."))
