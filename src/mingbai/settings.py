"""The settings of the whole program: read here and nowhere else, once, when a command starts.

A value comes from the first of these that has one: the command line, the environment (`MINGBAI_DATA`,
`MINGBAI_LEDGER__HEAD_INTERVAL_S`), the file `mingbai.toml` in the current folder (or the one that `MINGBAI_CONFIG`
names), the default below. Every setting has a type, a default, its unit in its name and one sentence;
`docs/settings.md` repeats them, and a test compares. A wrong one stops the start: `SettingsError` names the setting,
where it came from and what is allowed. Settings are read-only once loaded.
"""

from __future__ import annotations

import ipaddress
import os
import re
import shlex
import tomllib
import zoneinfo
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from annotated_types import Ge, Le
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings.exceptions import SettingsError as UnreadableVariable

from mingbai.kernel.errors import MingbaiError

CONFIG_NAME = "mingbai.toml"
CONFIG_VARIABLE = "MINGBAI_CONFIG"
PREFIX = "MINGBAI_"


class SettingsError(MingbaiError):
    """One or more settings are wrong. `data["problems"]` has a line for each: name, value, allowed, source."""

    code = "bad_setting"
    template = "{detail}"


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


def _words(given: object) -> object:
    return tuple(shlex.split(given)) if isinstance(given, str) else given


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a setting may hold, in words, where its type does not say it."""

    words: str


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine itself."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _items(given: object) -> object:
    return tuple(given.replace(",", " ").split()) if isinstance(given, str) else given


def _addresses(given: tuple[str, ...]) -> tuple[str, ...]:
    for address in given:
        _address(address)
    return given


def _address(given: str | None) -> str | None:
    # Narrower than RFC 5321: no quoted local part, no character that means something in a header or an SMTP command.
    if given is not None and not re.fullmatch(r"[\w.!#$%&'*+/=?^`{|}~-]+@[\w.-]+", given, re.ASCII):
        raise ValueError
    return given


def _smtp_url(given: str | None) -> str | None:
    if given is not None:
        url = urlsplit(given)
        is_bare = not (url.username or url.password or url.path.strip("/") or url.query or url.fragment)
        if url.scheme not in ("smtp", "smtps") or not url.hostname or url.port == 0 or not is_bare:
            raise ValueError
    return given


def _webhook_url(given: SecretStr | None) -> SecretStr | None:
    if given is not None:
        url = urlsplit(given.get_secret_value())
        is_safe = url.scheme == "https" or (url.scheme == "http" and is_loopback(url.hostname or ""))
        is_plain = re.fullmatch(r"[!-~]+", given.get_secret_value()) and not (url.username or url.password)
        if not is_safe or not url.hostname or url.port == 0 or not is_plain or url.fragment:
            raise ValueError
    return given


def _host_and_port(given: str) -> str:
    parts = urlsplit(f"//{given}")
    if not parts.hostname or parts.port is None or parts.username or parts.path or parts.query:
        raise ValueError
    return given


def _time_zone(given: str) -> str:
    if given not in zoneinfo.available_timezones():
        raise ValueError
    return given


def _oidc_url(given: str | None) -> str | None:
    if given is not None:
        url = urlsplit(given)
        is_safe = url.scheme == "https" or (url.scheme == "http" and is_loopback(url.hostname or ""))
        if not is_safe or not url.hostname or url.username or url.password or url.fragment:
            raise ValueError
    return given


def _database_url(given: SecretStr | None) -> SecretStr | None:
    if given is not None:
        url = urlsplit(given.get_secret_value())
        if url.scheme not in ("postgresql", "postgres") or not url.path.strip("/") or url.fragment:
            raise ValueError
    return given


DatabaseUrl = Annotated[
    SecretStr | None,
    AfterValidator(_database_url),
    Allowed("postgresql://user:password@host/name, or left out"),
]
Location = Annotated[Path, AfterValidator(_absolute)]
# In the environment as a shell would read it, in the file as a list; it is run without a shell.
Command = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words), Allowed("a command with its arguments")]
# In the environment between commas or spaces, in the file as a list.
Addresses = Annotated[
    tuple[str, ...],
    NoDecode,
    BeforeValidator(_items),
    AfterValidator(_addresses),
    Allowed("e-mail addresses: between commas, or as a list"),
]
Address = Annotated[str | None, AfterValidator(_address), Allowed("an e-mail address, or left out")]
SmtpUrl = Annotated[
    str | None, AfterValidator(_smtp_url), Allowed("smtp://host:port or smtps://host:port without user, or left out")
]
WebhookUrl = Annotated[
    SecretStr | None,
    AfterValidator(_webhook_url),
    Allowed("an https:// address (http:// to this machine only) without user, or left out"),
]
Secret = Annotated[SecretStr | None, Allowed("a text, or left out")]
Days = Annotated[int, Ge(0), Le(3650)]


class ScreeningSettings(BaseModel):
    """How messages are screened."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rulebook: Location | None = Field(default=None, description="Rulebook that applies where `--rules` names none.")
    model: Location | None = Field(
        default=None,
        description="Model that applies where `--model` names none; without either, the one that is shipped.",
    )
    batch_rows: Annotated[int, Ge(1), Le(1_000_000)] = Field(
        default=8192, description="Messages that are screened together; more gains no speed and takes more memory."
    )


class LedgerSettings(BaseModel):
    """What is kept of a decision, for how long, and how it is made provable."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # 150 days are the five months for which China's rules ask for the records of messages; who disputes a message that
    # arrived does so within days, so its text goes after 7.
    allowed_text_days: Days = Field(
        default=7, description="Days that the text of allowed messages is kept; 0 keeps none."
    )
    stopped_text_days: Days = Field(
        default=150, description="Days that the text of flagged, held and blocked messages is kept; 0 keeps none."
    )
    numbers_days: Days = Field(
        default=150, description="Days that sender's and receiver's numbers and the times are kept; 0 keeps none."
    )
    max_commit_rows: Annotated[int, Ge(1), Le(1_000_000)] = Field(
        default=16_384,
        description="Decisions that are synced to the disk together, at most; the others wait for the next.",
    )
    max_segment_rows: Annotated[int, Ge(1000), Le(100_000_000)] = Field(
        default=1_000_000, description="Decisions after which a segment is sealed; a start re-reads the open one."
    )
    max_segment_age_s: Annotated[int, Ge(1), Le(86_400)] = Field(
        default=3600,
        description="Seconds after which a segment is sealed, so that its entries can be queried as Parquet.",
    )
    head_interval_s: Annotated[int, Ge(1), Le(86_400)] = Field(
        default=60,
        description="Seconds between two signed heads of the chain; what lies after the last is not proved yet.",
    )
    keys: Location | None = Field(
        default=None,
        description="File that holds the keys (mode 0600); left out, `keys.json` in the data directory.",
    )
    keys_command: Command = Field(
        default=(),
        description="Command that prints the keys, in place of the file; it is run without a shell.",
    )


class AnchorSettings(BaseModel):
    """Where signed heads of the ledger go, so that they lie outside the hands of its keeper."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # An hour: the stretch that nobody outside can vouch for; a mail an hour is what a mailbox still bears.
    interval_s: Annotated[int, Ge(0), Le(604_800)] = Field(
        default=3600,
        description="Seconds between two exports by `screen --ledger`; 0 exports at the end of every run.",
    )
    file: Location | None = Field(default=None, description="File, on another disk or a share, that anchors go to.")
    mail_to: Addresses = Field(default=(), description="Mailboxes that anchors go to, each in a mail of its own.")
    mail_from: Address = Field(default=None, description="Sender of these mails.")
    smtp_url: SmtpUrl = Field(
        default=None,
        description="Mail server; smtps is TLS from the first byte, smtp asks for STARTTLS (not on this machine).",
    )
    smtp_user: Annotated[str | None, Allowed("a text, or left out")] = Field(
        default=None, description="User name at the mail server; left out, no login."
    )
    smtp_password: Secret = Field(default=None, description="Password at the mail server; never shown, never logged.")
    webhook_url: WebhookUrl = Field(
        default=None, description="Address that anchors are posted to; of it only the host is ever shown."
    )
    timeout_s: Annotated[int, Ge(1), Le(300)] = Field(
        default=20, description="Seconds after which a mail server or web-hook that stalls is given up until later."
    )


class ConsoleSettings(BaseModel):
    """The pages and the API that people and programs work with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: Annotated[str, AfterValidator(_host_and_port), Allowed("HOST:PORT, such as 127.0.0.1:8080")] = Field(
        default="127.0.0.1:8080", description="Where the console listens; this machine only, until told otherwise."
    )
    hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_items), Allowed("host names, or left out")] = Field(
        default=(), description="Names under which browsers reach the console; needed when it is not this machine only."
    )
    behind_tls: bool = Field(
        default=False, description="A proxy in front ends TLS: cookies are sent over https alone, and HSTS is on."
    )
    workers: Annotated[int, Ge(1), Le(64)] = Field(default=2, description="Processes that serve pages.")
    threads: Annotated[int, Ge(1), Le(256)] = Field(default=4, description="Threads of each of them.")
    session_hours: Annotated[int, Ge(1), Le(720)] = Field(
        default=12, description="Hours after which somebody has to sign in again."
    )
    require_second_factor: bool = Field(
        default=True,
        description="Who administers, approves, leads or audits needs a second factor; switch it off only to try.",
    )
    time_zone: Annotated[str, AfterValidator(_time_zone), Allowed("a name of the time-zone database")] = Field(
        default="Asia/Shanghai", description="Time zone in which times are shown."
    )
    oidc_name: Annotated[str, Allowed("a text")] = Field(
        default="OpenID Connect", description="What the button of the operator's own sign-in says."
    )
    oidc_url: Annotated[str | None, AfterValidator(_oidc_url), Allowed("an https:// address, or left out")] = Field(
        default=None, description="Address of the operator's OpenID Connect provider; left out, there is none."
    )
    oidc_client_id: Annotated[str | None, Allowed("a text, or left out")] = Field(
        default=None, description="Client id of Mingbai at that provider."
    )
    oidc_client_secret: Secret = Field(default=None, description="Client secret there; never shown, never logged.")


class ReviewSettings(BaseModel):
    """The review desk."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lease_s: Annotated[int, Ge(10), Le(3600)] = Field(
        default=120, description="Seconds after which a message that nobody decided returns to its queue."
    )
    second_opinion_percent: Annotated[int, Ge(0), Le(100)] = Field(
        default=5, description="Share of decided messages that a second person decides too, without seeing the first."
    )
    gold_percent: Annotated[int, Ge(0), Le(50)] = Field(
        default=2, description="Share of messages given out whose answer is known, to measure quality."
    )
    flagged: bool = Field(default=True, description="Whether flagged messages are reviewed; held ones always are.")
    hold_minutes: Annotated[int, Ge(1), Le(1440)] = Field(
        default=30, description="Minutes that a message may be held, where its class has no time of its own."
    )
    request_days: Annotated[int, Ge(1), Le(90)] = Field(
        default=15, description="Days within which a subscriber's request about own data must be answered."
    )


def _listener(given: str) -> str:
    if given in ("", "off"):
        return ""
    _host_and_port(given.removeprefix("tls:"))
    return given


Listener = Annotated[str, AfterValidator(_listener), Allowed("HOST:PORT, tls:HOST:PORT, or off")]


class GatewaySettings(BaseModel):
    """The SMS gateway. Who may connect, and where messages go, is no setting: it is changed live."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: Annotated[int, Ge(0), Le(64)] = Field(
        default=1, description="Processes that carry messages, all on the same ports; 0: `serve` runs no gateway."
    )
    cmpp: Listener = Field(default="127.0.0.1:7890", description="Where CMPP 2.0 and 3.0 are listened for.")
    sgip: Listener = Field(default="127.0.0.1:8801", description="Where SGIP 1.2 is listened for.")
    smgp: Listener = Field(default="127.0.0.1:8890", description="Where SMGP 3.0 is listened for.")
    smpp: Listener = Field(default="127.0.0.1:2775", description="Where SMPP 3.4 and 5.0 are listened for.")
    http: Listener = Field(default="127.0.0.1:8090", description="Where messages by HTTP and JSON are listened for.")
    metrics: Listener = Field(
        default="127.0.0.1:9464", description="Where the first worker shows metrics, health and readiness."
    )
    code: Annotated[int, Ge(1), Le(15_624)] = Field(
        default=1, description="Number of this gateway, in the message ids of CMPP and SMGP; no two hosts the same."
    )
    sgip_node: Annotated[int, Ge(1), Le(4_294_967_295)] = Field(
        default=3_000_000_001, description="Node number of this gateway in SGIP."
    )
    redis_url: Annotated[SecretStr | None, Allowed("redis://host:port/number, or left out")] = Field(
        default=None, description="Redis that counts rates and connections for all workers; left out, each by itself."
    )
    tls_certificate: Location | None = Field(
        default=None, description="Certificate chain (PEM) of `tls:` listeners; a changed file is used at once."
    )
    tls_key: Location | None = Field(default=None, description="Private key (PEM) of that certificate.")
    tls_client_ca: Location | None = Field(
        default=None, description="Who signs the certificates that accounts bring (PEM); left out, none is asked for."
    )
    traces_url: Annotated[str | None, AfterValidator(_oidc_url), Allowed("an https:// address, or left out")] = Field(
        default=None, description="OpenTelemetry collector (OTLP over HTTP) that traces are sent to; left out, none."
    )


class Settings(BaseSettings):
    """Everything that can be set. Make one with `load_settings`."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=PREFIX, env_nested_delimiter="__", env_ignore_empty=True
    )

    data: Location = Field(
        default=Path("~/.mingbai"),
        validate_default=True,
        description="Data directory: the ledger, its keys, policy versions. The same default for every command.",
    )
    database_url: DatabaseUrl = Field(
        default=None,
        description="PostgreSQL for the console, such as postgresql://user:word@host/name; left out, SQLite.",
    )
    screening: ScreeningSettings = ScreeningSettings()
    console: ConsoleSettings = ConsoleSettings()
    gateway: GatewaySettings = GatewaySettings()
    review: ReviewSettings = ReviewSettings()
    ledger: LedgerSettings = LedgerSettings()
    anchors: AnchorSettings = AnchorSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, InitSettingsSource(settings_cls, _read_config_file())


def load_settings(
    *, data: Path | None = None, console: str | None = None, gateway: Mapping[str, Any] | None = None
) -> Settings:
    """The settings as they stand now. `data`, `console` (its address) and `gateway` are the command line's and win.

    Raises SettingsError that lists every wrong setting.
    """
    given: dict[str, Any] = {}  # Any: pydantic checks them
    if data is not None:
        given["data"] = data
    if console is not None:
        given["console"] = {"address": console}
    if gateway:
        given["gateway"] = dict(gateway)
    try:
        settings = Settings(**given)
        problems = (*_missing_partners(settings.anchors), *_missing_client(settings.console))
        if not problems:
            return settings
    except ValidationError as error:
        problems = tuple(
            _problem(tuple(str(part) for part in detail["loc"]), detail["type"], detail["input"])
            for detail in error.errors()
        )
    except UnreadableVariable as error:
        problems = (f"environment: {error}",)
    raise SettingsError(problems=problems, detail="\n".join(problems)) from None


def _missing_partners(anchors: AnchorSettings) -> tuple[str, ...]:
    """Settings that are of no use without another one."""
    needs = (
        ("mail_to", ("mail_from", "smtp_url")),
        ("smtp_user", ("smtp_password",)),
        ("smtp_password", ("smtp_user",)),
    )
    problems = []
    for name, partners in needs:
        for partner in partners:
            if getattr(anchors, name) and not getattr(anchors, partner):
                problem = f"anchors.{name}: needs anchors.{partner} too"
                problems.append(problem)
    return tuple(problems)


def _missing_client(console: ConsoleSettings) -> tuple[str, ...]:
    if console.oidc_url and not (console.oidc_client_id and console.oidc_client_secret):
        return ("console.oidc_url: needs console.oidc_client_id and console.oidc_client_secret too",)
    return ()


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting, as a person reads about it."""

    name: str  # ledger.head_interval_s, as in mingbai.toml
    variable: str  # MINGBAI_LEDGER__HEAD_INTERVAL_S
    allowed: str
    default: str
    sentence: str


def describe_settings() -> Iterator[SettingRow]:
    """Every setting, sections in the order of the class."""
    for path, field in _fields(Settings, ()):
        default = str(field.default) if field.default not in (None, ()) else ""
        yield SettingRow(".".join(path), _variable(path), _allowed(field), default, field.description or "")


def _fields(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _fields(field.annotation, (*path, name))
        else:
            yield (*path, name), field


def _variable(path: tuple[str, ...]) -> str:
    return PREFIX + "__".join(path).upper()


def _allowed(field: FieldInfo) -> str:
    allowed = next((rule.words for rule in field.metadata if isinstance(rule, Allowed)), None)
    if allowed is not None:
        return allowed
    low = next((rule.ge for rule in field.metadata if isinstance(rule, Ge)), None)
    high = next((rule.le for rule in field.metadata if isinstance(rule, Le)), None)
    if field.annotation is int:
        return f"a whole number from {low} to {high}"
    if field.annotation is bool:
        return "true or false"
    return "a path" if field.is_required() or field.default is not None else "a path, or left out"


def _config_file() -> Path:
    return Path(os.environ.get(CONFIG_VARIABLE) or CONFIG_NAME).expanduser()


def _read_config_file() -> dict[str, object]:
    """What the file sets; nothing if there is none and none was asked for by name."""
    path = _config_file()
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if not os.environ.get(CONFIG_VARIABLE):
            return {}
        problem = f"{CONFIG_VARIABLE}: got {str(path)!r}, expected a file that exists"
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        problem = f"{path}: cannot be read as TOML: {error}"
    raise SettingsError(problems=(problem,), detail=problem)


def _problem(path: tuple[str, ...], kind: str, value: object) -> str:
    """One line: the setting, what it holds, what is allowed, where the value came from."""
    known = dict(_fields(Settings, ()))
    name, variable = ".".join(path), _variable(path)
    found = {key.upper() for key in os.environ}
    source = variable if variable in found else str(_config_file())
    if kind == "extra_forbidden":  # pydantic's name for a key that the model does not have
        siblings = ", ".join(".".join(other) for other in known if other[:-1] == path[:-1])
        return f"{name}: there is no such setting; there are {siblings or 'those of docs/settings.md'} (from {source})"
    expected = _allowed(known[path]) if path in known else "a table of settings"
    got = "a value that is not shown" if _may_hold_secret(path, known) else repr(value)
    return f"{name}: got {got}, expected {expected} (from {source})"


def _may_hold_secret(path: tuple[str, ...], known: dict[tuple[str, ...], FieldInfo]) -> bool:
    """Whether a message must not repeat the value: a secret, a table with one, an address that may have one in it."""
    within = [field for name, field in known.items() if name[: len(path)] == path]
    return any("SecretStr" in str(field.annotation) for field in within) or path[-1].endswith("_url")
