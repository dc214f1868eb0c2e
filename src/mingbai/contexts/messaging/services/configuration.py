"""The rulebook as part of a configuration file."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from mingbai.contexts.messaging.models.rulebook import RulebookState, RulebookVersion
from mingbai.contexts.messaging.queries import traffic
from mingbai.contexts.messaging.services import rulebook as rulebooks
from mingbai.contexts.people.queries import account_called
from mingbai.contexts.people.services.configuration import Step
from mingbai.kernel.errors import BadValue


class RulebookWanted(BaseModel):
    """The rulebook that shall be in force: as a file beside this one, or as text.

    author, approver: usernames of two people in whose names it is submitted and approved; the entries say besides that
    it came by a file. Without an approver it waits in the console for one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str = ""
    text: str = ""
    comment: str = "applied from a file"
    author: str = ""
    approver: str = ""

    def read(self, folder: Path) -> RulebookWanted:
        """With the text of the file. Raises BadValue."""
        if bool(self.file) == bool(self.text):
            raise BadValue(field="rulebook", value=self.file, expected="either file or text")
        if not self.file:
            return self
        try:
            text = (folder / self.file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadValue(
                field="rulebook.file", value=self.file, expected=f"a file of UTF-8 text ({error})"
            ) from error
        return self.model_copy(update={"file": "", "text": text})


def plan(wanted: RulebookWanted, *, actor: str, now: datetime) -> list[Step]:
    """One step, or none if that text is in force, or waits for approval, already."""
    present = rulebooks.ensure_first(now=now)
    text = wanted.text.replace("\r\n", "\n")
    if present.text == text:
        return []
    if not wanted.approver and RulebookVersion.objects.filter(state=RulebookState.SUBMITTED, text=text).exists():
        return []
    for field in ("author", "approver"):
        name = getattr(wanted, field)
        if (field == "author" or name) and account_called(name) is None:
            raise BadValue(field=f"rulebook.{field}", value=name, expected="a username")

    def run() -> None:
        author, approver = account_called(wanted.author), account_called(wanted.approver)
        assert author is not None
        client = traffic.client()
        draft = rulebooks.begin_draft(by=author.pk, now=now, actor=actor)
        draft = rulebooks.save_draft(
            draft.pk, text, comment=wanted.comment, revision=draft.revision, by=author.pk, now=now, actor=actor
        )
        draft = rulebooks.submit(
            draft.pk,
            revision=draft.revision,
            comment=wanted.comment,
            by=author.pk,
            now=now,
            client=client,
            actor=actor,
        )
        if approver is not None:
            rulebooks.approve(draft.pk, by=approver.pk, now=now, client=client, actor=actor)

    return [Step("~", "rulebook", wanted.comment, run)]


def export(*, now: datetime) -> dict[str, str]:
    """The text in force."""
    return {"text": rulebooks.ensure_first(now=now).text}
