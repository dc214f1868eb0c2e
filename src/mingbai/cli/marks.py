"""The words that weighed, marked in the original text: by colour, and by brackets where there is none."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from mingbai.cli.labels import STYLES
from mingbai.kernel.verdicts import Verdict

Spans = Iterable[tuple[int, int]]
_ON = {Verdict.BLOCK: "bold white on red", Verdict.HOLD: "bold white on magenta", Verdict.FLAG: "bold black on yellow"}
_DOTTED = (
    *(0x00AD, 0x034F, 0x061C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180E, 0x3164, 0xFEFF, 0xFFA0),
    *range(0x200B, 0x2010),
    *range(0x202A, 0x202F),
    *range(0x2060, 0x2070),
    *range(0xFE00, 0xFE10),
)
_INVISIBLE = {**dict.fromkeys(_DOTTED, "·"), **dict.fromkeys((*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029), " ")}


def visible(text: str) -> str:
    """The same number of characters: line ends and controls as spaces, invisible characters as a dot.

    What a message contains is shown, not obeyed: an escape sequence or a right-to-left mark in it moves nothing.
    """
    return text.translate(_INVISIBLE)


def closed(text: str, spans: Spans) -> list[tuple[int, int]]:
    """The spans in order, single letters between two taken in: evidence names letters, people read words."""
    out: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        start, end = max(start, 0), min(end, len(text))
        if start >= end:
            continue
        if out and (start <= out[-1][1] or (start == out[-1][1] + 1 and text[start - 1].isalnum())):
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return out


def marked(text: str, spans: Spans, verdict: Verdict, console: Console) -> Text:
    """The text with its spans marked. The text may be masked, as long as its characters keep their places."""
    has_colour = console.color_system is not None
    style = _ON.get(verdict, "bold black on green")
    result = Text()
    at = 0
    for start, end in closed(text, spans):
        result.append(visible(text[at:start]))
        inside = visible(text[start:end])
        result.append(inside if has_colour else f"⟦{inside}⟧", style=style)
        at = end
    return result.append(visible(text[at:]))


def bar(share: float, width: int, verdict: Verdict) -> Text:
    """A share as a bar of eighths of a character."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    full, rest = divmod(eighths, 8)
    return Text("█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else ""), style=STYLES[verdict].replace("bold ", ""))
