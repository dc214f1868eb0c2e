from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from pydantic import ValidationError

from mingbai.ledger import LedgerOptions, Retention
from mingbai.settings import SettingsError, describe_settings, load_settings


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


def test_every_setting_has_one_sentence() -> None:
    for row in describe_settings():
        assert row.sentence.endswith("."), row.name
