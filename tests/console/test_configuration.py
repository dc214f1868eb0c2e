"""`mingbai apply` and `export`: a plan that says what it does, one transaction, nothing to do the second time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mingbai.console.configuration import ConfigurationUnreadable, apply, export, plan, read_file
from mingbai.contexts.audit import queries as entries
from mingbai.contexts.people.models import Account, Assignment, Team, Token, Unit, Webhook
from mingbai.contexts.people.services.accounts import change_account
from mingbai.kernel.errors import BadValue

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 25, 8, tzinfo=UTC)
ACTOR = "apply:root"

WHOLE = """
[[unit]]
code = "sp-demo"
name = "示例科技"
kind = "partner"
parent = "js"
access_codes = ["10690001"]

[[unit]]
code = "js"
name = "江苏"
kind = "province"

[[account]]
username = "li"
name = "李明"
skills = ["fraud"]
roles = [{ role = "reviewer" }, { role = "branch_manager", unit = "js" }]

[[account]]
username = "sp"
roles = [{ role = "service_provider", unit = "sp-demo" }]

[[team]]
code = "night"
name = "夜班 \\"一\\""
members = ["li"]
roles = [{ role = "reviewer" }]

[[token]]
account = "li"
name = "ci"
scopes = ["see_messages", "review"]
expires_at = 2027-06-30T00:00:00Z

[[webhook]]
name = "siem"
url = "https://siem.example/hook"
kinds = ["rulebook."]
"""


@pytest.fixture
def file(tmp_path: Path, data_dir: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "config.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_whole_file_is_planned_applied_and_then_is_so(file: Callable[[str], Path]) -> None:
    steps = plan(read_file(file(WHOLE)), actor=ACTOR, now=NOW)
    assert [f"{step.sign} {step.what} {step.name}" for step in steps] == [
        "+ unit js",
        "+ unit sp-demo",  # after the unit above it, whatever the order in the file
        "+ account li",
        "+ account sp",
        "+ team night",
        "+ member night: li",
        "+ role li: branch_manager (js)",
        "+ role li: reviewer",
        "+ role sp: service_provider (sp-demo)",
        "+ role night: reviewer",
        "+ token li/ci",
        "+ webhook siem",
    ]
    assert not Account.objects.exists()  # a plan does nothing
    secrets = apply(steps, actor=ACTOR, now=NOW)
    assert [step.what for step, _ in secrets] == ["token", "webhook"]
    assert all(len(secret) > 30 for _, secret in secrets)
    assert plan(read_file(file(WHOLE)), actor=ACTOR, now=NOW) == []
    assert {entry.actor for entry in entries.entries()} == {ACTOR}
    (summary,) = entries.entries(kinds=["configuration.applied"])
    assert summary.data["count"] == 12
    assert entries.verify().ok


def test_what_is_exported_says_nothing_new_here_and_the_same_elsewhere(file: Callable[[str], Path]) -> None:
    apply(plan(read_file(file(WHOLE)), actor=ACTOR, now=NOW), actor=ACTOR, now=NOW)
    text = export(now=NOW)
    assert plan(read_file(file(text)), actor=ACTOR, now=NOW) == []
    assert "whsec_" not in text
    assert "mb_" not in text
    for model in (Webhook, Token, Assignment, Team, Account):
        model.objects.all().delete()
    Unit.objects.filter(parent__isnull=False).delete()
    Unit.objects.all().delete()
    assert len(plan(read_file(file(text)), actor=ACTOR, now=NOW)) == 12


def test_changes_are_named_with_before_and_after(file: Callable[[str], Path]) -> None:
    apply(plan(read_file(file(WHOLE)), actor=ACTOR, now=NOW), actor=ACTOR, now=NOW)
    changed = WHOLE.replace('name = "李明"', 'name = "李小明"').replace('{ role = "reviewer" }, ', "", 1)
    steps = plan(read_file(file(changed)), actor=ACTOR, now=NOW)
    assert [(step.sign, step.what, step.name, step.changes) for step in steps] == [
        ("~", "account", "li", (("name", "李明", "李小明"),)),
        ("-", "role", "li: reviewer", ()),
    ]


def test_what_the_file_does_not_name_stays(file: Callable[[str], Path], account: Callable[..., Account]) -> None:
    stays = account("auditor")
    apply(plan(read_file(file(WHOLE)), actor=ACTOR, now=NOW), actor=ACTOR, now=NOW)
    assert Assignment.objects.filter(account=stays, role="auditor").exists()


def test_a_step_that_fails_undoes_all(file: Callable[[str], Path]) -> None:
    steps = plan(read_file(file(WHOLE)), actor=ACTOR, now=NOW)
    head = entries.head()
    steps[-1] = type(steps[-1])(
        "+", "webhook", "bad", lambda: (_ for _ in ()).throw(BadValue(field="x", value=1, expected="y"))
    )
    with pytest.raises(BadValue):
        apply(steps, actor=ACTOR, now=NOW)
    assert not Account.objects.exists()
    assert entries.head() == head


def test_nobody_gets_a_second_token_by_applying_again_and_a_changed_one_replaces_the_old(
    file: Callable[[str], Path],
) -> None:
    apply(plan(read_file(file(WHOLE)), actor=ACTOR, now=NOW), actor=ACTOR, now=NOW)
    changed = WHOLE.replace('["see_messages", "review"]', '["see_messages"]')
    (step,) = plan(read_file(file(changed)), actor=ACTOR, now=NOW)
    assert step.sign == "~"
    apply([step], actor=ACTOR, now=NOW)
    assert Token.objects.filter(revoked_at=None).count() == 1
    assert Token.objects.get(revoked_at=None).scopes == ["see_messages"]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("nonsense = 1", "nonsense"),
        ("[[account]]\nname = 'x'", "account.1.username"),
        ("[[account]]\nusername = 'x'\nroles = [{ role = 'king' }]", "account.1.roles.1.role"),
        ("[[account]]\nusername = 'x'\nroles = [{ role = 'reviewer', unit = 'nowhere' }]", "account x: roles.unit"),
        ("[[unit]]\ncode = 'a'\nname = 'a'\nkind = 'branch'\nparent = 'a'", "unit: parent"),
        ("[[team]]\ncode = 't'\nname = 't'\nmembers = ['ghost']", "team t: members"),
        ("[[account]]\nusername = 'x'\n[[account]]\nusername = 'x'", "account"),
        (
            "[[token]]\naccount = 'x'\nname = 't'\nscopes = ['all']\nexpires_at = 2027-01-01T00:00:00Z",
            "token.1.scopes.1",
        ),
        ("[rulebook]\nauthor = 'x'", "rulebook"),
        ("[rulebook]\nfile = 'missing.toml'", "rulebook.file"),
    ],
)
def test_a_wrong_file_names_the_field(file: Callable[[str], Path], text: str, field: str) -> None:
    with pytest.raises(BadValue) as caught:
        plan(read_file(file(text)), actor=ACTOR, now=NOW)
    assert caught.value.data["field"] == field
    assert caught.value.data["expected"]


def test_what_is_no_toml_is_refused_with_its_place(file: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationUnreadable, match="line 1"):
        read_file(file("= x"))
    with pytest.raises(ConfigurationUnreadable, match="No such file"):
        read_file(tmp_path / "nothing.toml")


def test_the_last_administrator_is_not_taken_away_by_a_file(
    file: Callable[[str], Path], account: Callable[..., Account]
) -> None:
    admin = account("administrator")
    change_account(admin, name="Chief", actor="system", now=NOW)
    text = f"[[account]]\nusername = '{admin.username}'\nname = 'Chief'\nactive = false\nroles = []"
    steps = plan(read_file(file(text)), actor=ACTOR, now=NOW)
    assert [step.sign for step in steps] == ["~", "-"]
    with pytest.raises(Exception, match="last administrator"):
        apply(steps, actor=ACTOR, now=NOW)
    admin.refresh_from_db()
    assert admin.is_active
