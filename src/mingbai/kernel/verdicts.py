"""What a decision can say: verdict, category and reason codes.

The numbers are stored in the ledger and sent to peers. A value is never given a new meaning and never reused:
retire it and add another. Names as printed are the lower-case member names (`illegal_trade`), reason codes print
with their dotted `label`.
"""

from __future__ import annotations

from enum import IntEnum


class Verdict(IntEnum):
    """What happens to the traffic; a larger number interferes more."""

    ALLOW = 0
    FLAG = 1
    HOLD = 2
    BLOCK = 3

    @property
    def label(self) -> str:
        return self.name.lower()


class Category(IntEnum):
    """What a message is. The first two are legitimate, the others unwanted or criminal."""

    PERSONAL = 0
    NOTIFICATION = 1
    ADVERTISING = 2
    FRAUD = 3
    ILLEGAL_TRADE = 4

    @property
    def label(self) -> str:
        return self.name.lower()


class Reason(IntEnum):
    """Why a verdict was given; one decision carries one or more."""

    MODEL_LEGITIMATE = 1  # the model's score is below every threshold and nothing else spoke
    MODEL_SPAM = 2  # the model's score passed the blocking threshold of its class
    MODEL_DOUBTFUL = 3  # between the flagging and the blocking threshold
    MODEL_SECOND_STAGE = 4  # the dearer second look decided
    RULE_KEYWORD = 10
    RULE_REGEX = 11
    RULE_URL = 12
    RULE_NUMBER = 13
    RULE_CONDITION = 14  # a rule of conditions alone: sender, access code, signature, time, category, score
    RULE_ALLOW = 15  # an allow-list entry let it pass
    RULE_FREED = 16  # a person freed exactly this message (`engines/screening/exceptions.py`)
    URL_LOOKALIKE = 20  # the host imitates a protected brand
    URL_SHORTENER = 21
    URL_RAW_ADDRESS = 22
    URL_HIDDEN = 23  # written so that a filter misses it (。or 点 for the dot, spaces, full width)
    URL_NEW_HOST = 24  # not seen before by these counters
    CAMPAIGN_BURST = 30  # one text from many senders, or to many receivers, within the window
    EVASION = 40  # the text was written to defeat a filter
    PROTECTED_CODE = 50  # a verification code or bank notice, protected from the model's blocking
    UNSCREENED = 60  # screening failed; the written failure rule applied
    TRUNCATED = 61  # only the first part of an over-long text was read
    UNREADABLE = 62  # binary, damaged, or for the SIM: nobody can say what it says
    FIELD_ABSENT = 63  # a rule was not applied: the message does not bring the field (IMSI, MSC, ...) it looks at

    @property
    def label(self) -> str:
        """Dotted name as printed: RULE_KEYWORD -> `rule.keyword`."""
        return self.name.lower().replace("_", ".", 1)
