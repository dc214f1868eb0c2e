"""The gateway in a configuration file: a plan of what changes, secrets from elsewhere, nothing to do for an export."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mingbai.cli.example import text
from mingbai.connectors.gateway_registry import Registry, registry_path, unseal
from mingbai.console.configuration import apply, export, plan, read_file
from mingbai.contexts.messaging.queries.traffic import keys
from mingbai.contexts.messaging.services import gateway
from mingbai.contexts.messaging.services.gateway_configuration import TABLES
from mingbai.kernel.errors import BadValue

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 25, 8, tzinfo=UTC)
ACTOR = "apply:root"
SMALL = """
[[gateway.account]]
name = "sp-one"
protocol = "cmpp"
login = "900001"
secret = "s3cret-one"
access_codes = ["10690001"]

[[gateway.route]]
name = "all"
to = ["north"]

[[gateway.smsc]]
name = "north"
protocol = "smpp"
login = "us"
secret = "pw"
address = "127.0.0.1:2775"
"""
File = Callable[[str], Path]


@pytest.fixture
def file(tmp_path: Path, data_dir: Path) -> File:
    registry_path(data_dir).unlink(missing_ok=True)

    def write(content: str) -> Path:
        path = tmp_path / "gateway.toml"
        path.write_text(content, encoding="utf-8")
        return path

    return write


def planned(path: Path) -> list[Any]:  # Any: steps
    return plan(read_file(path), actor=ACTOR, now=NOW)


def carry_out(path: Path) -> list[str]:
    steps = planned(path)
    apply(steps, actor=ACTOR, now=NOW)
    gateway.publish_present()  # as at the end of the transaction, which a test's never comes to
    return [f"{step.sign} {step.what} {step.name}" for step in steps]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_example_works_as_it_is(file: File, language: str) -> None:
    path = file(text("gateway.toml", language))
    done = carry_out(path)
    assert "+ gateway.account app-http" in done
    assert planned(path) == []
    found = gateway.present_registry()
    assert {(one.protocol, one.port) for one in found.smscs} == {
        ("cmpp", 17890), ("sgip", 18801), ("smgp", 18890), ("smpp", 12775),
    }  # fmt: skip
    assert len(found.accounts) == 9


def test_the_examples_say_the_same_and_have_secrets_of_their_own() -> None:
    def plain(content: str) -> tuple[Any, list[str]]:  # Any: TOML
        document = tomllib.loads(content)["gateway"]
        return document, [row.pop("secret") for rows in document.values() for row in rows if "secret" in row]

    (english, secrets), (chinese, others) = (plain(text("gateway.toml", language)) for language in ("en", "zh"))
    assert english == chinese
    assert len({*secrets, *others}) == len(secrets) + len(others) == 26
    assert all(len(secret) >= 8 for secret in secrets)


def test_rows_come_in_the_order_in_which_they_need_each_other(file: File) -> None:
    path = file(SMALL)
    assert carry_out(path) == ["+ gateway.smsc north", "+ gateway.account sp-one", "+ gateway.route all"]
    assert planned(path) == []
    assert unseal(keys(), gateway.present_registry().account_of["sp-one"].secret) == b"s3cret-one"


def test_an_export_finds_nothing_to_do_and_holds_no_secret(file: File) -> None:
    carry_out(file(text("gateway.toml", "en")))
    gateway.set_mode(
        "bank-cmpp", "bypass", actor=ACTOR, now=NOW, until=NOW + timedelta(hours=1), confirmation="bank-cmpp"
    )
    gateway.publish_present()
    written = export(now=NOW)
    assert "sealed" not in written
    assert "secret = " not in written
    assert 'secret_env = "MINGBAI_GATEWAY_ACCOUNT_BANK_CMPP"' in written
    assert planned(file(written)) == []
    document = tomllib.loads(written)["gateway"]
    assert set(document) == set(TABLES)


def test_a_change_says_what_changes_but_no_secret(file: File) -> None:
    carry_out(file(SMALL))
    changed = SMALL.replace("s3cret-one", "another-one").replace('["10690001"]', '["10690001", "10690002"]')
    (step,) = planned(file(changed))
    assert (step.sign, step.what, step.name) == ("~", "gateway.account", "sp-one")
    assert step.changes == (("secret", "***", "***"), ("access_codes", "10690001", "10690001, 10690002"))


def test_secrets_come_from_variables_and_files(file: File, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pw").write_text("on-disk\n")
    content = SMALL.replace('secret = "pw"', 'secret_file = "pw"').replace(
        'secret = "s3cret-one"', 'secret_env = "SP_ONE"'
    )
    with pytest.raises(BadValue, match="SP_ONE"):
        read_file(file(content))
    monkeypatch.setenv("SP_ONE", "from-a-variable")
    carry_out(file(content))
    found = gateway.present_registry()
    assert unseal(keys(), found.account_of["sp-one"].secret) == b"from-a-variable"
    assert unseal(keys(), found.smsc_of["north"].secret) == b"on-disk"


def test_a_complete_file_removes_what_it_does_not_name(file: File) -> None:
    carry_out(file(SMALL))
    rest = SMALL[SMALL.index("[[gateway.smsc]]") :]
    assert planned(file(rest)) == []
    done = carry_out(file(f"[gateway]\ncomplete = true\n{rest}"))
    assert done == ["- gateway.route all", "- gateway.account sp-one"]
    assert carry_out(file("[gateway]\ncomplete = true\n")) == ["- gateway.smsc north"]
    assert gateway.present_registry() == Registry()


def test_logins_can_change_hands_in_one_file(file: File) -> None:
    two = SMALL + SMALL.split("[[gateway.route]]")[0].replace("sp-one", "sp-two").replace("900001", "900002")
    carry_out(file(two))
    swapped = two.replace("900001", "x").replace("900002", "900001").replace('"x"', '"900002"')
    assert carry_out(file(swapped)) == ["~ gateway.account sp-one", "~ gateway.account sp-two"]


def test_the_file_of_ported_numbers_is_beside_the_file(file: File, tmp_path: Path) -> None:
    path = file('[gateway]\nportability = "ported.csv"\n')
    with pytest.raises(BadValue, match="portability"):
        read_file(path)
    (tmp_path / "ported.csv").write_text("13800000001,unicom\n")
    assert carry_out(path) == ["~ gateway portability"]
    assert gateway.present_registry().portability == str(tmp_path / "ported.csv")
    assert planned(path) == []


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ('protocol = "cmpp"', 'protocol = "mms"', "gateway.account sp-one: protocol"),
        ('secret = "s3cret-one"', "", "gateway.account sp-one: secret"),
        ('secret = "s3cret-one"', 'secret = "a"\nsecret_file = "b"', "gateway.account sp-one: secret"),
        ('to = ["north"]', 'to = ["south"]', "gateway.routes.all.to"),
        ('name = "all"', 'name = "all"\ncolour = 1', "gateway.route all: colour"),
        ("[[gateway.route]]", "[[gateway.road]]", "gateway.road"),
        ('access_codes = ["10690001"]', 'mode = "bypass"\nbypass_until = 2026-11-25T09:00:00Z', "sp-one: mode"),
    ],
)
def test_a_wrong_file_is_refused_whole_and_names_the_place(file: File, old: str, new: str, field: str) -> None:
    with pytest.raises(BadValue) as refused:
        planned(file(SMALL.replace(old, new)))
    assert field in str(refused.value.data["field"])
    assert "s3cret" not in str(refused.value)


def test_a_file_is_applied_before_anything_was_ever_started(tmp_path: Path) -> None:
    def mingbai(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mingbai.cli", *(str(argument) for argument in arguments)]
        env = {**os.environ, "LC_ALL": "C.UTF-8", "MINGBAI_DATA": str(tmp_path / "data")}
        env.pop("DJANGO_SETTINGS_MODULE", None)
        return subprocess.run(command, capture_output=True, text=True, timeout=180, env=env, check=False)

    printed = mingbai("example", "gateway.toml")
    assert printed.returncode == 0, printed.stderr
    (tmp_path / "gateway.toml").write_text(printed.stdout, encoding="utf-8")
    done = mingbai("apply", tmp_path / "gateway.toml", "--yes")
    assert done.returncode == 0, done.stderr
    assert "+ SMSC smsc-cmpp" in done.stdout
    assert registry_path(tmp_path / "data").exists()
    assert mingbai("example", "other.toml").returncode == 2


def test_a_registry_that_is_gone_is_published_again(
    file: File, data_dir: Path, django_capture_on_commit_callbacks: Any
) -> None:  # Any: pytest-django's
    path = file(SMALL)
    carry_out(path)
    registry_path(data_dir).unlink()
    with django_capture_on_commit_callbacks(execute=True):
        steps = planned(path)
        apply(steps, actor=ACTOR, now=NOW)
    assert [f"{step.sign} {step.what} {step.name}" for step in steps] == ["+ gateway registry.json"]
    assert registry_path(data_dir).exists()
    assert planned(path) == []
