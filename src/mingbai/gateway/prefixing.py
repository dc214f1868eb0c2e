"""A warning before a doubtful message's text: in one part where it fits, in more where it does not."""

from __future__ import annotations

from dataclasses import replace

from mingbai.protocols.long_messages import parts_of
from mingbai.protocols.messages import ShortMessage
from mingbai.protocols.text import Encoding, best_coding, coding_of


def warned(text: str, warning: str, message: ShortMessage, reference: int) -> list[ShortMessage]:
    """The contents that carry warning and text. message: what all parts have in common.

    Its own header is not kept: the text is split anew. Raises BadValue for a text that no coding of ours can write.
    """
    whole = warning + text
    coding = message.coding
    if coding.encoding not in (Encoding.UCS2, Encoding.GB18030):
        coding = best_coding(whole, "cmpp")
        if coding.encoding is Encoding.ASCII and not whole.isascii():
            coding = coding_of("cmpp", 8)
    contents = parts_of(whole, coding, reference & 0xFF)
    is_long = len(contents) > 1
    return [replace(message, content=one, coding=coding, has_header=is_long, mark=None) for one in contents]
