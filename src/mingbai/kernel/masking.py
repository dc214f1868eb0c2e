"""Messages on the screen without the numbers in them: an example shows what a text says, not whom it concerns."""

from __future__ import annotations

import re

# A run of five or more digits (of any script, with single signs between them) can be a phone number, an account or a
# code; shorter ones are amounts, dates and hours, which make a text readable.
_NUMBER = re.compile(r"(?:[0-9０-９]|(?<=[0-9０-９])[ -](?=[0-9０-９])){5,}")
# An id as people are told to add: letters and digits mixed, at least six.
_ID = re.compile(r"(?<![A-Za-z0-9_./-])(?=[A-Za-z_-]*[0-9])[A-Za-z][A-Za-z0-9_-]{5,}(?![A-Za-z0-9_./-])")
_PATH = re.compile(r"(?<=[A-Za-z0-9])(/[A-Za-z0-9_?=&%./-]{4,})")


def masked(text: str) -> str:
    """The same number of characters; the middles of numbers, ids and the paths of links are `*`."""
    for pattern, kept in ((_PATH, 2), (_ID, 2), (_NUMBER, 2)):
        text = pattern.sub(lambda found, kept=kept: found[0][:kept] + "*" * (len(found[0]) - kept), text)  # type: ignore[misc]  # mypy infers no type for a default of a lambda
    return text


def masked_number(number: str) -> str:
    """A phone number or code with its middle as `*`: enough to tell two apart on a page, not to call one."""
    shown = 3 if len(number) <= 12 else 6  # an E.164 mobile number keeps its country code and the network's digits
    if len(number) <= 5:
        return "*" * len(number)
    return number[:shown] + "*" * (len(number) - shown - 2) + number[-2:]
