"""What goes into the rules beside a batch's columns, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mingbai.engines.screening.schema import DECISION, column
from mingbai.kernel.verdicts import Reason

Bools = npt.NDArray[np.bool_]
F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

NO_PAIRS: I64 = np.zeros((0, 2), np.int64)


class Seen(NamedTuple):
    """What rules need of the rows of a batch beside its columns."""

    score: F32
    category: U8
    hits: I32  # [k, 4]: row, keyword of `CompiledRules.keywords`, start, end (characters of the original text)
    logit: F32 | None = None


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    """What rules say about the n rows of a batch."""

    NONE: ClassVar[int] = 255

    action: U8  # [n] Verdict of the deciding rule, NONE where no rule fired
    category: U8  # [n] Category that a stopping rule stands for, else NONE
    winner: I32  # [n] index of the deciding rule in the rulebook, -1
    rules: pa.ListArray  # [n] ids of all rules that fired, the deciding one first
    spans: I32  # [k, 3]: row, start, end of what they matched, characters of the original text, in row order
    reasons: dict[Reason, Bools]  # which kinds of condition made the rules of a row fire
    fires: bool  # whether any rule does
    code: Bools  # [n] a verification code (`codes`)
    service_code: Bools  # [n] sent by a service, not by a person
    # [k, 2]: row, rule that would fire if the message brought the field that it looks at (`network_fields`)
    kept_back: I64 = field(default_factory=lambda: NO_PAIRS)


def silence(n: int, code: Bools, service_code: Bools) -> RuleOutcome:
    """What no rule has to say."""
    return RuleOutcome(
        action=np.full(n, RuleOutcome.NONE, np.uint8),
        category=np.full(n, RuleOutcome.NONE, np.uint8),
        winner=np.full(n, -1, np.int32),
        rules=column(IDS, np.zeros(n + 1, np.int32), NO_IDS),
        spans=np.zeros((0, 3), np.int32),
        reasons=dict.fromkeys(REASONS, np.zeros(n, np.bool_)),
        fires=False,
        code=code,
        service_code=service_code,
    )


IDS = DECISION.field("rules").type
NO_IDS = pa.array([], pa.string())
REASONS = (
    *(Reason.RULE_KEYWORD, Reason.RULE_REGEX, Reason.RULE_URL),
    *(Reason.RULE_NUMBER, Reason.RULE_CONDITION, Reason.RULE_ALLOW),
)
