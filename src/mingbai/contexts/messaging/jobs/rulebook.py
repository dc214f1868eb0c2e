"""What is done for the rulebook without anybody asking: what the rows say is in force, and replays are carried out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from mingbai.contexts.messaging.jobs.working import work_one
from mingbai.contexts.messaging.models import RulebookVersion, Run, RunKind
from mingbai.contexts.messaging.services import rulebook
from mingbai.settings import Settings


def keep_rulebook_in_force(settings: Settings, now: datetime) -> None:
    """Mends what a crash between an approval and its publication leaves behind."""
    rulebook.ensure_first(now=now)
    rulebook.publish_present()


def carry_out_replays(settings: Settings, now: datetime) -> None:
    while work_one(settings, (RunKind.REPLAY_RULES,), _request):
        pass


def _request(run: Run) -> Mapping[str, Any]:  # Any: JSON
    version = RulebookVersion.objects.get(pk=UUID(run.subject.removeprefix("rulebook:")))
    return {"rulebook": version.text}


JOBS = (
    ("keep the rulebook in force", 1.0, keep_rulebook_in_force, False),
    ("carry out replays", 0.5, carry_out_replays, True),
)
