"""POST /api/v1/screen: a batch of messages is decided, recorded, and only then answered."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import pyarrow as pa
from django.http import HttpRequest
from ninja import Field, Router, Schema

from mingbai.contexts.messaging.queries import traffic
from mingbai.contexts.people.http_api import NotAllowed, allowed, reach
from mingbai.contexts.people.policy import Action
from mingbai.kernel.errors import BadValue
from mingbai.kernel.verdicts import Category, Reason, Verdict
from mingbai.protocols.optional_fields import PATTERNS

router = Router(tags=["screening"])
MAX_MESSAGES = 1000
MAX_TEXT = 10_000  # characters; a long message of 255 parts has at most 39,015 octets (3GPP TS 23.040, 9.2.3.24.1)


class MessageIn(Schema):
    """One message. access_code: the code that it came through, for messages of service providers.

    imsi, msc, cell, device: what the network knows of a message between persons. Looked at by rules, and not kept.
    """

    text: str = Field(min_length=1, max_length=MAX_TEXT)
    sender: str | None = Field(None, max_length=64)
    receiver: str | None = Field(None, max_length=64)
    access_code: str | None = Field(None, max_length=32)
    time: datetime | None = None
    imsi: str | None = Field(None, pattern=PATTERNS["imsi"])
    msc: str | None = Field(None, pattern=PATTERNS["msc"])
    cell: str | None = Field(None, pattern=PATTERNS["cell"])
    device: str | None = Field(None, pattern=PATTERNS["device"])


class Span(Schema):
    """Characters of the text, end exclusive."""

    start: int
    end: int


class Decided(Schema):
    """id: of the entry in the ledger; campaign: 16 hex digits, "" for none."""

    id: UUID
    verdict: str
    category: str
    score: float
    reasons: list[str]
    rules: list[str]
    spans: list[Span]
    campaign: str


class ScreenIn(Schema):
    messages: Annotated[list[MessageIn], Field(min_length=1, max_length=MAX_MESSAGES)]


class ScreenOut(Schema):
    """One decision a message, in the order given; policy, model and rulebook that decided."""

    decisions: list[Decided]
    policy: int
    model: str
    rulebook: str


@router.post("/screen", auth=allowed(Action.SCREEN), response={200: ScreenOut}, operation_id="screen")
def screen(request: HttpRequest, given: ScreenIn) -> dict[str, Any]:  # Any: ninja makes the document
    """What is answered is in the ledger. A service provider screens messages of its own access codes only."""
    within = reach(request, Action.SCREEN)
    for place, message in enumerate(given.messages):
        if message.time is not None and message.time.tzinfo is None:
            raise BadValue(
                field=f"messages.{place}.time", value=message.time.isoformat(), expected="a time with its zone"
            )
        if not within.covers(access_code=message.access_code):
            raise NotAllowed(needed=f"{Action.SCREEN} for access code {message.access_code}")
    columns = {
        name: pa.array([getattr(message, name) for message in given.messages], pa.string())
        for name in ("text", "sender", "receiver", "access_code")
    }
    columns["time"] = pa.array([message.time for message in given.messages], pa.timestamp("us", "UTC"))
    for name in PATTERNS:
        values = [getattr(message, name) for message in given.messages]
        if any(values):
            columns[name] = pa.array(values, pa.string())
    found = traffic.client().screen(pa.record_batch(columns))
    return {
        "decisions": [_decided(id, row) for id, row in zip(found.ids, found.decisions.to_pylist(), strict=True)],
        "policy": found.policy,
        "model": found.model,
        "rulebook": found.rulebook,
    }


def _decided(id: UUID, row: dict[str, Any]) -> dict[str, Any]:  # Any: a row of DECISION; JSON
    return {
        "id": id,
        "verdict": Verdict(row["verdict"]).label,
        "category": Category(row["category"]).label,
        "score": row["score"],
        "reasons": [Reason(code).label for code in row["reasons"]],
        "rules": row["rules"],
        "spans": row["spans"],
        "campaign": traffic.campaign_text(row["campaign"]),
    }
