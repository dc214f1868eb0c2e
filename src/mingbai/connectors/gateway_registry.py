"""Who may connect to the gateway, whom it connects to, and which message goes where: as the control plane publishes it.

    DATA/gateway/registry.json     the registry in force: replaced as a whole, followed by every gateway worker

A registry is checked as a whole before it is published: names that nobody bears, two accounts with one login, a route
to an SMSC that does not exist are refused with the field, its value and what was expected. The gateway needs no
database: it goes on, also after a restart, while the control plane is down. Secrets stand in it sealed under the
ledger's master key, so that the file alone opens nothing.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import re
import zoneinfo
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mingbai.kernel.clock import as_utc, format_utc, parse_utc
from mingbai.kernel.errors import BadValue, MingbaiError
from mingbai.ledger import KeyStore
from mingbai.ledger.files import FileOps, make_dirs, write_new
from mingbai.protocols.optional_fields import PATTERNS
from mingbai.protocols.text import Encoding

FORMAT: Final = 1
_SEALED: Final = "sealed:"
_BOUND_TO: Final = b"mingbai.gateway.secret"


class RegistryUnusable(MingbaiError):
    """The published registry is missing a part, or is not what was published. The one before it stays in force."""

    code = "registry_unusable"
    template = "{path}: {what}"


class Protocol(StrEnum):
    """What a peer speaks. The version is settled by its login."""

    CMPP = "cmpp"
    SGIP = "sgip"
    SMGP = "smgp"
    SMPP = "smpp"
    HTTP = "http"


class Party(StrEnum):
    """Whose messages come in. A network hands over what its own subscribers write to each other."""

    PROVIDER = "provider"
    NETWORK = "network"


class Mode(StrEnum):
    """What the gateway does with a verdict."""

    ENFORCE = "enforce"
    OBSERVE = "observe"  # decide and record, forward all
    BYPASS = "bypass"  # forward all unscreened, until a time: for the bad day


class OnBlock(StrEnum):
    """How a provider hears that a message was blocked."""

    REFUSE = "refuse"  # the protocol's own error
    SWALLOW = "swallow"  # accepted, and a truthful report: REJECTD


class OnFlag(StrEnum):
    """What happens to a message that is doubtful."""

    FORWARD = "forward"
    WARN = "warn"  # with the class's warning before its text


class OnFailure(StrEnum):
    """The written rule for messages that could not be screened."""

    FORWARD = "forward"
    HOLD = "hold"
    TRY_LATER = "try_later"


class InDoubt(StrEnum):
    """What happens to a message that was sent and not answered when the gateway or the link died."""

    ASK = "ask"  # a person decides
    RESEND = "resend"  # rather twice than never
    DROP = "drop"  # rather never than twice


def _name(given: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,31}", given):
        raise ValueError("1 to 32 of a-z, 0-9, . _ -, beginning with a letter or digit")
    return given


def _digits(given: str) -> str:
    if not re.fullmatch(r"\+?[0-9]{1,21}", given):
        raise ValueError("1 to 21 digits")
    return given


def _network(given: str) -> str:
    try:
        return str(ipaddress.ip_network(given, strict=False))
    except ValueError:
        raise ValueError("an IP address or network, such as 10.1.0.0/16") from None


def _host_port(given: str) -> str:
    host, _, port = given.rpartition(":")
    if not host.strip("[]") or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError("HOST:PORT")
    return given


def _zone(given: str) -> str:
    try:
        zoneinfo.ZoneInfo(given)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        raise ValueError("a name of the time-zone database") from None
    return given


def _alphabet(given: str | None) -> str | None:
    if given is not None and given not in {one.value for one in Encoding}:
        raise ValueError(f"one of {', '.join(one.value for one in Encoding)}")
    return given


def _tag(given: object) -> int | None:
    """A tag of SMPP: a number, also as a form has it, `0x1501` or `5377`."""
    if isinstance(given, str):
        try:
            given = int(given, 0)
        except ValueError:
            return None
    return given if isinstance(given, int) and not isinstance(given, bool) and 0 <= given <= 0xFFFF else None


Name = Annotated[str, AfterValidator(_name)]
Digits = Annotated[str, AfterValidator(_digits)]
Network = Annotated[str, AfterValidator(_network)]
HostPort = Annotated[str, AfterValidator(_host_port)]
Zone = Annotated[str, AfterValidator(_zone)]
Alphabet = Annotated[str | None, AfterValidator(_alphabet)]
Login = Annotated[str, Field(min_length=1, max_length=16)]
Secret = Annotated[str, Field(max_length=512, repr=False)]
Count = Annotated[int, Field(ge=1, le=1024)]
Rate = Annotated[int, Field(ge=0, le=1_000_000)]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_enum_values=False)

    name: Name
    active: bool = True


class TrafficClass(_Row):
    """What holds for one kind of traffic. Hours and minutes are those of the clock."""

    unscreened: OnFailure = OnFailure.FORWARD
    in_doubt: InDoubt = InDoubt.ASK
    validity_hours: Annotated[int, Field(ge=1, le=168)] = 48  # of a message that names no end of its own
    hold_minutes: Annotated[int, Field(ge=1, le=1440)] = 30
    after_hold: Annotated[str, Field(pattern="^(forward|refuse)$")] = "forward"  # when nobody decided in time
    attempts: Annotated[int, Field(ge=1, le=100)] = 10  # at a temporary refusal, before the dead letters
    flagged: OnFlag = OnFlag.FORWARD
    warning: Annotated[str, Field(max_length=40)] = "【疑似营销信息】"
    part_wait_s: Annotated[int, Field(ge=1, le=600)] = 60  # for the other parts of a long message


class _Peer(_Row):
    protocol: Protocol
    login: Login
    secret: Secret = ""
    alphabet: Alphabet = None  # of SMPP's coding 0; None: as usual for the protocol
    zone: Zone = "Asia/Shanghai"

    @model_validator(mode="after")
    def _login_fits(self) -> _Peer:
        most = {Protocol.CMPP: 6, Protocol.SMGP: 8, Protocol.SMPP: 15}.get(self.protocol, 16)
        if len(self.login.encode()) > most:
            raise ValueError(f"login: at most {most} octets in {self.protocol.value}")
        longest = {Protocol.SGIP: 16, Protocol.SMPP: 8}.get(self.protocol, 512)
        if not self.secret.startswith(_SEALED) and len(self.secret.encode()) > longest:
            raise ValueError(f"secret: at most {longest} octets in {self.protocol.value}")
        return self


class Account(_Peer):
    """A service provider, or a network element that hands over person-to-person traffic."""

    party: Party = Party.PROVIDER
    traffic: Name = "commercial"
    access_codes: tuple[Digits, ...] = ()  # prefixes that it may send from; a provider without one sends nothing
    addresses: tuple[Network, ...] = ()  # where it may connect from; none: from nowhere
    connections: Count = 4
    window: Count = 16
    rate_per_s: Rate = 100  # messages; 0: no limit
    mode: Mode = Mode.ENFORCE
    bypass_until: datetime | None = None
    blocked: OnBlock = OnBlock.REFUSE
    blocked_code: Annotated[int, Field(ge=1, le=0xFFFFFFFF)] | None = None  # in place of the protocol's usual one
    callback: HostPort | None = None  # SGIP: where reports and messages are brought to
    certificate: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""  # SHA-256 of its TLS certificate
    skew_s: Annotated[int, Field(ge=0, le=86_400)] = 600  # that its clock may be off at a login; 0: not looked at
    fields: dict[str, int] = {}  # SMPP, of a network: which TLV tag brings its IMSI, MSC, cell, device

    @field_validator("fields", mode="before")
    @classmethod
    def _tags(cls, given: object) -> dict[str, int]:
        if not isinstance(given, Mapping):
            raise ValueError("a table of fields and TLV tags, such as {imsi = 0x1501}")
        found: dict[str, int] = {}
        for name, tag in given.items():
            if name not in PATTERNS:
                raise ValueError(f"{name}: a field among {', '.join(PATTERNS)}")
            number = _tag(tag)
            if number is None:
                raise ValueError(f"{name}: a TLV tag, 0x0000 to 0xFFFF")
            if number in found.values():
                raise ValueError(f"{name}: a TLV tag of its own")
            found[name] = number
        return found

    @model_validator(mode="after")
    def _fields_fit(self) -> Account:
        if self.fields and self.party is not Party.NETWORK:
            raise ValueError('fields: none, unless party is "network"')
        if self.fields and self.protocol is not Protocol.SMPP:
            raise ValueError("fields: none, unless the protocol is smpp: HTTP names them in each message")
        return self

    @property
    def brought(self) -> tuple[str, ...]:
        """Which of IMSI, MSC, cell and device its messages can bring."""
        if self.party is Party.NETWORK and self.protocol is Protocol.HTTP:
            return tuple(PATTERNS)
        return tuple(self.fields)

    @model_validator(mode="after")
    def _bypass_ends(self) -> Account:
        if self.mode is Mode.BYPASS and self.bypass_until is None:
            raise ValueError("bypass_until: a bypass needs an end")
        if self.bypass_until is not None and self.bypass_until.tzinfo is None:
            raise ValueError("bypass_until: a time with its zone")
        return self

    def mode_at(self, now: datetime) -> Mode:
        """A bypass that is over is none."""
        if self.mode is Mode.BYPASS and (self.bypass_until is None or self.bypass_until <= now):
            return Mode.ENFORCE
        return self.mode


class Smsc(_Peer):
    """An SMSC, an operator's gateway or another peer that messages go to and reports come from."""

    address: HostPort
    version: Annotated[str, Field(pattern=r"^(|2\.0|3\.0|1\.2|1\.3|3\.4|5\.0)$")] = ""  # "": the newest
    connections: Annotated[int, Field(ge=1, le=64)] = 1
    window: Count = 16
    rate_per_s: Rate = 0
    tls: bool = False
    ca: Annotated[str, Field(max_length=100_000)] = ""  # PEM of who signs its certificate; "": the system's
    server_name: Annotated[str, Field(max_length=253)] = ""  # in its certificate; "": the host of `address`
    client_certificate: Annotated[str, Field(max_length=100_000)] = ""  # PEM
    client_key: Annotated[str, Field(max_length=100_000, repr=False)] = ""  # PEM; a secret
    fields: dict[str, int | str] = {}  # of each SUBMIT to it: fees, corporation
    node: Annotated[int, Field(ge=0, le=0xFFFFFFFF)] = 0  # SGIP: our node number there

    @field_validator("protocol")
    @classmethod
    def _not_http(cls, given: Protocol) -> Protocol:
        if given is Protocol.HTTP:
            raise ValueError("cmpp, sgip, smgp or smpp")
        return given

    @property
    def host(self) -> str:
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def version_number(self) -> int:
        """As the dialects say it; 0 for the newest."""
        if not self.version:
            return 0
        major, _, minor = self.version.partition(".")
        return int(major) << 4 | int(minor)


class Route(_Row):
    """Where messages go. Of the routes that match, the one with the lowest `order` counts, then the more exact one."""

    order: Annotated[int, Field(ge=0, le=10_000)] = 100
    to: Annotated[tuple[Name, ...], Field(min_length=1)]  # SMSCs, the first that can take it
    accounts: tuple[Name, ...] = ()  # none named: any
    access_codes: tuple[Digits, ...] = ()  # prefixes; none: any
    destinations: tuple[Digits, ...] = ()  # prefixes of the recipient; none: any
    networks: tuple[Name, ...] = ()  # that the recipient belongs to, by range and portability; none: any
    mode: Mode | None = None  # None: as the account says
    bypass_until: datetime | None = None

    @model_validator(mode="after")
    def _bypass_ends(self) -> Route:
        if self.mode is Mode.BYPASS and self.bypass_until is None:
            raise ValueError("bypass_until: a bypass needs an end")
        return self


class NumberRange(_Row):
    """Numbers that belong to a network, unless they were ported."""

    network: Name
    prefixes: Annotated[tuple[Digits, ...], Field(min_length=1)]


class Registry(BaseModel):
    """All of it. `classes` always has one called commercial and one called personal."""

    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))

    accounts: tuple[Account, ...] = ()
    smscs: tuple[Smsc, ...] = ()
    routes: tuple[Route, ...] = ()
    classes: tuple[TrafficClass, ...] = ()
    ranges: tuple[NumberRange, ...] = ()
    portability: str = ""  # file of `number,network` lines; "": none

    @model_validator(mode="after")
    def _names(self) -> Registry:
        for kind, rows in self.tables().items():
            seen: set[str] = set()
            for row in rows:
                if row.name in seen:
                    raise ValueError(f"{kind}.{row.name}: a name that is there once")
                seen.add(row.name)
        logins: dict[tuple[str, str], str] = {}
        for account in self.accounts:
            key = (account.protocol.value, account.login)
            if key in logins:
                raise ValueError(f"accounts.{account.name}.login: another login than that of {logins[key]}")
            logins[key] = account.name
            if account.traffic not in self.class_of:
                raise ValueError(f"accounts.{account.name}.traffic: a class among {', '.join(self.class_of)}")
        smscs = {one.name for one in self.smscs}
        accounts = {one.name for one in self.accounts}
        for route in self.routes:
            for name in route.to:
                if name not in smscs:
                    raise ValueError(f"routes.{route.name}.to: an SMSC among {', '.join(sorted(smscs)) or 'none'}")
            for name in route.accounts:
                if name not in accounts:
                    raise ValueError(
                        f"routes.{route.name}.accounts: an account among {', '.join(sorted(accounts)) or 'none'}"
                    )
        return self

    def tables(self) -> dict[str, tuple[_Row, ...]]:
        return {
            "accounts": self.accounts,
            "smscs": self.smscs,
            "routes": self.routes,
            "classes": self.classes,
            "ranges": self.ranges,
        }

    @cached_property
    def class_of(self) -> dict[str, TrafficClass]:
        usual = (TrafficClass(name="commercial"), TrafficClass(name="personal", in_doubt=InDoubt.RESEND))
        return {one.name: one for one in (*usual, *self.classes)}

    @cached_property
    def account_of(self) -> dict[str, Account]:
        return {one.name: one for one in self.accounts}

    @cached_property
    def smsc_of(self) -> dict[str, Smsc]:
        return {one.name: one for one in self.smscs}

    @cached_property
    def by_login(self) -> dict[tuple[str, str], Account]:
        return {(one.protocol.value, one.login): one for one in self.accounts}


SECRETS: Final[dict[str, tuple[str, ...]]] = {"accounts": ("secret",), "smscs": ("secret", "client_key")}


def read_registry(document: Mapping[str, Any]) -> Registry:  # Any: of a JSON or TOML document
    """Raises BadValue that names the place, its value and what was expected."""
    try:
        return Registry.model_validate(document)
    except ValidationError as error:
        raise _bad_value(error) from None


def read_row(kind: str, document: Mapping[str, Any]) -> _Row:  # Any: as above
    """One row of a table, checked by itself. Raises BadValue."""
    try:
        return ROWS[kind].model_validate(document)
    except ValidationError as error:
        raise _bad_value(error) from None


ROWS: Final[dict[str, type[_Row]]] = {
    "accounts": Account,
    "smscs": Smsc,
    "routes": Route,
    "classes": TrafficClass,
    "ranges": NumberRange,
}


def _bad_value(error: ValidationError) -> BadValue:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"]) or "registry"
    said = first["msg"].removeprefix("Value error, ")
    inner, colon, expected = said.partition(": ")
    if first["type"] == "value_error" and colon and re.fullmatch(r"[\w.-]+", inner):
        place, said = f"{place}.{inner}" if place != "registry" else inner, expected
    if first["type"] == "extra_forbidden":
        said = "no such field"
    last, given = place.rpartition(".")[2], first["input"]
    if isinstance(given, Mapping | BaseModel):  # a check of the whole row: of it, the field that is named
        given = given.get(last, "") if isinstance(given, Mapping) else getattr(given, last, "")
    text = "a secret" if last in ("secret", "client_key") else str(given)
    return BadValue(field=place, value=text if len(text) <= 100 else text[:100] + "…", expected=said)


# ---- secrets


def seal(keys: KeyStore, secret: str) -> str:
    """A secret as it stands in files and tables. What is sealed already stays as it is."""
    if not secret or secret.startswith(_SEALED):
        return secret
    wrapped = keys.wrap(secret.encode(), _BOUND_TO)
    return f"{_SEALED}{keys.ring.master[-1].id.hex()}:{wrapped.hex()}"


def unseal(keys: KeyStore, sealed: str) -> bytes:
    """Raises BadValue if these keys do not open it."""
    if not sealed.startswith(_SEALED):
        return sealed.encode()
    try:
        master, _, wrapped = sealed.removeprefix(_SEALED).partition(":")
        secret = keys.unwrap(bytes.fromhex(master), bytes.fromhex(wrapped), _BOUND_TO)
    except ValueError:
        secret = None
    if secret is None:
        raise BadValue(field="secret", value="sealed", expected="a secret sealed under a key that is still kept")
    return secret


# ---- the file


@dataclass(frozen=True, slots=True)
class Published:
    """A registry in force. version: from 1, one more with each publication; 0: nothing was published."""

    registry: Registry
    version: int
    at: datetime
    by: str


def registry_path(data_dir: Path) -> Path:
    return data_dir / "gateway" / "registry.json"


def publish_registry(
    data_dir: Path, registry: Registry, keys: KeyStore, *, now: datetime, by: str, ops: FileOps | None = None
) -> Published:
    """Put a registry in force; returns when it is on the disk. What equals the one in force makes no new version.

    Raises OSError, RegistryUnusable (the file there is damaged: move it away to begin anew).
    """
    ops = ops or FileOps()
    path = registry_path(data_dir)
    make_dirs(ops, path.parent)
    with _only_one(path.parent):
        before = read_published(data_dir)
        document = _sealed_document(registry, keys)
        if before is not None and before.registry.model_dump(mode="json") == document:
            return before
        version = 1 if before is None else before.version + 1
        at = as_utc(now, "now")
        whole = {"format": FORMAT, "version": version, "at": format_utc(at), "by": by, "registry": document}
        write_new(ops, path, [json.dumps(whole, ensure_ascii=False, indent=1).encode()])
        return Published(read_registry(document), version, at, by)


def _sealed_document(registry: Registry, keys: KeyStore) -> dict[str, Any]:  # Any: JSON
    document: dict[str, Any] = registry.model_dump(mode="json")
    for table, names in SECRETS.items():
        for row in document[table]:
            for name in names:
                row[name] = seal(keys, row[name])
    return document


def read_published(data_dir: Path) -> Published | None:
    """The registry in force; None: none was ever published. Raises RegistryUnusable."""
    path = registry_path(data_dir)
    try:
        whole = json.loads(path.read_bytes())
        if whole["format"] != FORMAT:
            raise ValueError(f"expected a document of format {FORMAT}")
        return Published(
            read_registry(whole["registry"]), int(whole["version"]), parse_utc(whole["at"]), str(whole["by"])
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RegistryUnusable(path=str(path), what=error.strerror or str(error)) from error
    except (ValueError, TypeError, KeyError, RecursionError, BadValue) as error:
        raise RegistryUnusable(path=str(path), what=f"not what was published: {error!r}") from error


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    fd = os.open(folder / "registry.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


class RegistryFollower:
    """Holds the registry in force for one gateway worker. `poll` costs one stat where nothing changed."""

    def __init__(self, data_dir: Path, *, now: datetime) -> None:
        self._data_dir = data_dir
        self.problem: str | None = None
        self._seen: tuple[int, int, int] | None = None
        self.in_force = Published(Registry(), 0, now, "")
        self.poll()

    def poll(self) -> bool:
        """True if another registry is in force now. One that cannot be read leaves the old one: see `problem`."""
        mark = self._mark()
        if mark == self._seen:
            return False
        self._seen = mark
        try:
            found = read_published(self._data_dir)
        except RegistryUnusable as error:
            self.problem = str(error)
            return False
        if found is None:
            self.problem = None if self.in_force.version == 0 else "the registry is gone"
            return False
        self.problem = None
        is_new = (found.version, found.at) != (self.in_force.version, self.in_force.at)
        self.in_force = found
        return is_new

    def _mark(self) -> tuple[int, int, int] | None:
        try:
            found = registry_path(self._data_dir).stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size
