from __future__ import annotations

import ast
from dataclasses import fields
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

import mingbai
from mingbai.ledger import LedgerOptions, Retention
from mingbai.settings import Settings, SettingsError, describe_settings, load_settings


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the machine that runs the tests, and a current folder without mingbai.toml."""
    for row in describe_settings():
        monkeypatch.delenv(row.variable, raising=False)
    monkeypatch.delenv("MINGBAI_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)


def test_defaults_are_those_that_are_described() -> None:
    settings = load_settings()
    assert settings.data == Path.home() / ".mingbai"
    assert (settings.ledger.allowed_text_days, settings.ledger.stopped_text_days) == (7, 150)
    assert settings.ledger.numbers_days == 150
    assert settings.screening.rulebook is None


def test_command_line_beats_environment_beats_file_beats_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Path("mingbai.toml").write_text('data = "of-file"\n[ledger]\nnumbers_days = 30\nallowed_text_days = 1\n')
    assert load_settings().data == tmp_path / "of-file"
    monkeypatch.setenv("MINGBAI_DATA", "/of/environment")
    monkeypatch.setenv("MINGBAI_LEDGER__NUMBERS_DAYS", "60")
    settings = load_settings()
    assert settings.data == Path("/of/environment")
    assert (settings.ledger.numbers_days, settings.ledger.allowed_text_days) == (60, 1)
    assert settings.ledger.stopped_text_days == 150
    assert load_settings(data=Path("/of/command")).data == Path("/of/command")


def test_the_file_may_lie_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    elsewhere = tmp_path / "etc" / "m.toml"
    elsewhere.parent.mkdir()
    elsewhere.write_text("screening.batch_rows = 16\n")
    monkeypatch.setenv("MINGBAI_CONFIG", str(elsewhere))
    assert load_settings().screening.batch_rows == 16
    elsewhere.unlink()
    with pytest.raises(SettingsError, match="MINGBAI_CONFIG"):
        load_settings()


def test_paths_are_absolute_whatever_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MINGBAI_SCREENING__RULEBOOK", "rules.toml")
    monkeypatch.setenv("MINGBAI_DATA", "~/elsewhere")
    settings = load_settings()
    assert settings.screening.rulebook == tmp_path / "rules.toml"
    assert settings.data == Path.home() / "elsewhere"


@pytest.mark.parametrize("value", ["-1", "3651", "seven", "7.5", "true"])
def test_a_wrong_value_stops_the_start_with_its_name_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("MINGBAI_LEDGER__ALLOWED_TEXT_DAYS", value)
    with pytest.raises(SettingsError) as error:
        load_settings()
    assert str(error.value) == (
        f"ledger.allowed_text_days: got {value!r}, expected a whole number from 0 to 3650 "
        "(from MINGBAI_LEDGER__ALLOWED_TEXT_DAYS)"
    )


def test_every_wrong_setting_is_named_at_once() -> None:
    Path("mingbai.toml").write_text("[ledger]\nnumbers_days = 9999\ntypo = 1\n[screening]\nbatch_rows = 0\n")
    with pytest.raises(SettingsError) as error:
        load_settings()
    message = str(error.value)
    for part in ("ledger.numbers_days", "ledger.typo: there is no such setting", "screening.batch_rows"):
        assert part in message
    assert "mingbai.toml" in message
    assert len(message.splitlines()) == 3


@pytest.mark.parametrize("content", [b"[ledger\n", b"\xff\xfe\n", b"ledger = 3\n"])
def test_a_broken_file_stops_the_start(content: bytes) -> None:
    Path("mingbai.toml").write_bytes(content)
    with pytest.raises(SettingsError):
        load_settings()


def test_a_section_as_one_variable_must_be_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINGBAI_LEDGER", "seven")
    with pytest.raises(SettingsError, match=r"(?i)ledger"):
        load_settings()


def test_settings_do_not_change_once_loaded() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.data = Path("/elsewhere")
    with pytest.raises(ValidationError):
        settings.ledger.numbers_days = 1


def test_the_ledger_alone_has_the_same_defaults() -> None:
    ledger = load_settings().ledger
    for owner in (LedgerOptions(), Retention()):
        shared = {field.name for field in fields(owner)} & set(type(ledger).model_fields)
        assert len(shared) >= 3
        assert {name: getattr(ledger, name) for name in shared} == {name: getattr(owner, name) for name in shared}


def test_a_command_is_words_in_the_environment_and_a_list_in_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mingbai.toml").write_text('[ledger]\nkeys_command = ["vault", "read"]\n')
    assert load_settings().ledger.keys_command == ("vault", "read")
    monkeypatch.setenv("MINGBAI_LEDGER__KEYS_COMMAND", "cat '/run/my keys'")
    assert load_settings().ledger.keys_command == ("cat", "/run/my keys")
    monkeypatch.setenv("MINGBAI_LEDGER__KEYS_COMMAND", "cat '/run/my keys")
    with pytest.raises(SettingsError, match=r"ledger\.keys_command.* a command with its arguments"):
        load_settings()


def test_mailboxes_stand_between_commas_or_in_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    more = 'mail_from = "m@example.org"\nsmtp_url = "smtps://mail.example.org"\n'
    Path("mingbai.toml").write_text(f'[anchors]\nmail_to = ["a@example.org", "b@example.org"]\n{more}')
    assert load_settings().anchors.mail_to == ("a@example.org", "b@example.org")
    monkeypatch.setenv("MINGBAI_ANCHORS__MAIL_TO", "c@example.org,d@example.org e@example.org")
    assert load_settings().anchors.mail_to == ("c@example.org", "d@example.org", "e@example.org")


@pytest.mark.parametrize(
    "address", ["nobody", "a@b@c", "a b@example.org, <x>", "a@example.org\\r\\nBcc: b@example.org", "张@example.org"]
)
def test_what_is_no_mailbox_is_refused(address: str) -> None:
    Path("mingbai.toml").write_text(f'[anchors]\nmail_to = ["{address}"]\n')
    with pytest.raises(SettingsError, match=r"anchors\.mail_to.* e-mail addresses"):
        load_settings()


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.org/x?y=z",
        "http://127.0.0.1:8080/",
        "http://localhost/",
        "http://[::1]:1/",
        "https://[::1]",
    ],
)
def test_web_hooks_are_encrypted_or_on_this_machine(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("MINGBAI_ANCHORS__WEBHOOK_URL", url)
    found = load_settings().anchors.webhook_url
    assert found is not None
    assert found.get_secret_value() == url


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/",
        "ftp://example.org",
        "https://",
        "https://a:b@example.org/",
        "https://example.org/ x",
        "https://example.org:99999/",
        "http://localhost.example.org/",
        "x",
    ],
)
def test_other_web_hooks_are_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("MINGBAI_ANCHORS__WEBHOOK_URL", url)
    with pytest.raises(SettingsError) as error:
        load_settings()
    assert str(error.value).startswith("anchors.webhook_url: got a value that is not shown, expected an https://")


def test_a_table_with_a_secret_in_it_is_not_repeated() -> None:
    Path("mingbai.toml").write_text('[anchors]\nsmtp_password = ["s3cret"]\n')
    with pytest.raises(SettingsError) as error:
        load_settings()
    assert "s3cret" not in str(error.value)
    Path("mingbai.toml").write_text('anchors = ["s3cret"]\n')
    with pytest.raises(SettingsError) as error:
        load_settings()
    assert "s3cret" not in str(error.value)


def test_every_setting_has_one_sentence() -> None:
    for row in describe_settings():
        assert row.sentence.endswith("."), row.name


# -- no setting is dead --

SOURCE = Path(mingbai.__file__).parent


def settings_classes() -> dict[type[BaseModel], str]:
    """The class of each section and its name in `Settings`; `Settings` itself under the empty name."""
    sections = {field.annotation: name for name, field in Settings.model_fields.items()}
    return {Settings: ""} | {
        kind: name for kind, name in sections.items() if isinstance(kind, type) and issubclass(kind, BaseModel)
    }


def settings_read() -> set[tuple[str, str]]:
    """(section, field) of every place in the source, outside settings.py, that reads a field of a settings object.

    Such an object is: `<anything>.<section>`, what is assigned from one of these or from `load_settings`, and whatever
    is annotated with its class. Names are followed within a file.
    """
    found = set()
    for path in SOURCE.rglob("*.py"):
        content = path.read_text(encoding="utf-8")
        if path == SOURCE / "settings.py" or "settings" not in content:
            continue
        tree = ast.parse(content)
        for kind, section in settings_classes().items():
            names = {section} if section else set()
            for node in ast.walk(tree):
                if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
                    holder = node.arg if isinstance(node, ast.arg) else last_name(node.target)
                    if kind.__name__ in ast.unparse(node.annotation).split(" | "):
                        names.add(holder)
                elif isinstance(node, ast.Assign):
                    value = node.value.func if isinstance(node.value, ast.Call) else node.value
                    made = last_name(value) in ("load_settings", "Settings") if not section else False
                    if made or (section and isinstance(value, ast.Attribute) and value.attr == section):
                        names |= {last_name(target) for target in node.targets}
            for node in ast.walk(tree):
                if (
                    isinstance(node, ast.Attribute)
                    and isinstance(node.ctx, ast.Load)
                    and last_name(node.value) in names
                ):
                    found.add((section, node.attr))
    return found


def last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def test_every_setting_is_read_somewhere() -> None:
    read = settings_read()
    for row in describe_settings():
        section, _, name = row.name.rpartition(".")
        assert (section, name) in read, f"nothing reads {row.name}"


def test_a_setting_that_nothing_reads_would_be_noticed() -> None:
    read = settings_read()
    fields_of = {(section, name) for kind, section in settings_classes().items() for name in kind.model_fields}
    # `file` is a field of one section only, however many other things in the source are called so.
    assert {section for section, name in read & fields_of if name == "file"} == {"anchors"}
    assert ("ledger", "nothing_reads_this") not in read
    assert ("screening", "timeout_s") not in read
