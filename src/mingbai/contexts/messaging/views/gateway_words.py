"""The gateway's words for people: kinds of rows, their fields with help, states, modes, reasons."""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

Words = str | Promise

KINDS: dict[str, tuple[Words, Words]] = {  # kind -> one of them, what they are for
    "accounts": (_("Account"), _("Who may log in to the gateway: service providers and network elements.")),
    "smscs": (_("SMSC"), _("Whom the gateway logs in to: SMSCs and other operators' gateways.")),
    "routes": (_("Route"), _("Which message goes where. The lowest order counts, then the more exact route.")),
    "classes": (_("Traffic class"), _("What holds for one kind of traffic when something goes wrong.")),
    "ranges": (_("Number range"), _("Numbers that belong to a network, unless they were ported.")),
}

NEW: dict[str, Words] = {  # kind -> what the button says
    "accounts": _("Add an account"),
    "smscs": _("Add an SMSC"),
    "routes": _("Add a route"),
    "classes": _("Add a traffic class"),
    "ranges": _("Add a number range"),
}


@dataclass(frozen=True, slots=True)
class PartWords:
    """A part of a row's form: its title, what it is about, its fields. Closed: only few rows need it."""

    title: Words
    fields: tuple[str, ...]
    about: Words = ""
    is_open: bool = True


PARTS: dict[str, tuple[PartWords, ...]] = {
    "accounts": (
        PartWords("", ("name", "protocol", "login", "secret", "party", "traffic", "active")),
        PartWords(
            _("Permissions and limits"), ("access_codes", "addresses", "connections", "window", "rate_per_s"),
        ),
        PartWords(_("What it hears of a block"), ("blocked", "blocked_code"), is_open=False),
        PartWords(
            _("Client certificate"), ("certificate",), _("of the account, for listeners with TLS"), is_open=False,
        ),
        PartWords(_("More"), ("callback", "alphabet", "zone", "skew_s", "fields"), is_open=False),
    ),
    "smscs": (
        PartWords("", ("name", "protocol", "address", "login", "secret", "active")),
        PartWords(_("How much it takes"), ("connections", "window", "rate_per_s")),
        PartWords(
            _("TLS and certificates"), ("tls", "server_name", "ca", "client_certificate", "client_key"),
            _("encryption of the connections"), is_open=False,
        ),
        PartWords(_("More"), ("version", "node", "alphabet", "zone", "fields"), is_open=False),
    ),
    "routes": (
        PartWords("", ("name", "order", "to", "active")),
        PartWords(
            _("Which messages"), ("accounts", "access_codes", "destinations", "networks"),
            _("all that is filled in must match"),
        ),
    ),
    "classes": (
        PartWords("", ("name", "active")),
        PartWords(_("When something goes wrong"), ("unscreened", "in_doubt", "attempts", "validity_hours")),
        PartWords(_("Held messages"), ("hold_minutes", "after_hold")),
        PartWords(_("Doubtful messages"), ("flagged", "warning")),
        PartWords(_("More"), ("part_wait_s",), is_open=False),
    ),
    "ranges": (PartWords("", ("name", "network", "prefixes", "active")),),
}  # fmt: skip

# field -> label, help. Where kinds differ: kind.field.
FIELDS: dict[str, tuple[Words, Words]] = {
    "name": (_("Name"), _("1 to 32 of a-z, 0-9, dot, hyphen, underscore. It cannot be changed.")),
    "active": (_("In use"), _("Without it, this is kept and not used.")),
    "protocol": (_("Protocol"), ""),
    "login": (_("Login"), _("CMPP: 6 characters at most, SMGP: 8, SMPP: 15, SGIP and HTTP: 16.")),
    "secret": (
        _("Secret"),
        _("SMPP: 8 characters at most, SGIP: 16. Never shown again; left empty, it stays as it is."),
    ),
    "alphabet": (_("Alphabet of data coding 0"), _("SMPP only; empty: as usual for the protocol.")),
    "zone": (_("Time zone"), _("Of times without one in its messages, such as Asia/Shanghai.")),
    "party": (_("Whose messages"), ""),
    "traffic": (_("Traffic class"), _("What holds when something goes wrong.")),
    "access_codes": (_("Access codes"), _("It may send from numbers that begin so; one a line. Without one: nothing.")),
    "addresses": (
        _("Source addresses"),
        _("It may connect from these IP addresses or networks; one a line. None: nowhere."),
    ),
    "connections": (_("Connections"), _("At most so many at a time.")),
    "window": (_("Sliding window"), _("Messages under way at once on a connection.")),
    "rate_per_s": (_("Messages a second"), _("What is above is answered as too fast; 0: no limit.")),
    "blocked": (_("A blocked message"), ""),
    "blocked_code": (_("Error code for blocked"), _("In place of the protocol's usual one.")),
    "callback": (_("Callback"), _("SGIP: HOST:PORT of the provider, where reports and replies are brought to.")),
    "certificate": (
        _("Fingerprint (SHA-256)"),
        _("Of the certificate that the account must bring; or paste the certificate (PEM). Empty: any, or none."),
    ),
    "skew_s": (_("Clock difference (seconds)"), _("That its clock may be off at a login; 0: not looked at.")),
    "address": (_("Address"), _("HOST:PORT.")),
    "version": (_("Version"), _("Empty: the newest that both speak.")),
    "tls": (_("TLS"), _("The connection is encrypted.")),
    "ca": (_("CA certificates"), _("PEM of who signs its certificate; empty: the system's list.")),
    "server_name": (_("Name in its certificate"), _("Empty: the host of its address.")),
    "client_certificate": (_("Our certificate"), _("PEM, where it asks for one.")),
    "client_key": (_("Key of our certificate"), _("PEM. Never shown. Left empty, it stays as it is.")),
    "fields": (_("Fields of each message"), _("NAME=VALUE, one a line: fees, corporation.")),
    "node": (_("Node number"), _("SGIP: ours, as the operator gave it.")),
    "order": (_("Rank"), _("Of the routes that match, the lowest counts.")),
    "to": (_("To SMSCs"), _("Names, one a line: the first that can take it gets the message.")),
    "accounts": (_("From accounts"), _("Names, one a line. None: any.")),
    "destinations": (_("Destinations"), _("How the recipient's number begins, one a line. None: any.")),
    "networks": (_("Networks"), _("That the recipient belongs to, one a line. None: any.")),
    "unscreened": (_("When it cannot be screened"), ""),
    "in_doubt": (_("When nobody knows whether it was sent"), ""),
    "validity_hours": (_("Valid for (hours)"), _("Where a message names no end of its own.")),
    "hold_minutes": (_("Held for (minutes)"), _("So long a person has to decide.")),
    "after_hold": (_("When nobody decided"), ""),
    "attempts": (_("Attempts"), _("At a temporary refusal, before it is a dead letter.")),
    "flagged": (_("A doubtful message"), ""),
    "warning": (_("Warning"), _("Put before the text of a doubtful message.")),
    "part_wait_s": (_("Wait for parts (seconds)"), _("For the other parts of a long message.")),
    "network": (_("Network"), _("As routes name it.")),
    "prefixes": (_("Prefixes"), _("How its numbers begin, one a line.")),
    "accounts.fields": (
        _("TLV tags of IMSI, MSC, cell, device"),
        _("SMPP, of a network element: imsi=0x1501, one a line; names are imsi, msc, cell and device."),
    ),
    "routes.access_codes": (_("Access codes"), _("How the sender's number begins, one a line. None: any.")),
    "smscs.connections": (_("Connections"), _("That each worker of the gateway opens.")),
    "smscs.rate_per_s": (
        _("Messages a second"),
        _("From each worker of the gateway; what is above waits. 0: as fast as it answers."),
    ),
    "smscs.secret": (_("Secret"), _("As the operator gave it. Never shown again; left empty, it stays as it is.")),
    "smscs.login": (_("Login"), _("As the operator gave it.")),
}

# Values of fields that are one of a few; a field's own first: field.value.
CHOICES: dict[str, Words] = {
    "cmpp": "CMPP",
    "sgip": "SGIP",
    "smgp": "SMGP",
    "smpp": "SMPP",
    "http": "HTTP",
    "party.provider": _("A service provider's"),
    "party.network": _("Subscribers', from a network element"),
    "enforce": _("enforce"),
    "observe": _("observe"),
    "bypass": _("bypass"),
    "blocked.refuse": _("is refused with an error"),
    "blocked.swallow": _("is accepted and reported as rejected"),
    "unscreened.forward": _("forward it"),
    "unscreened.hold": _("hold it for a person"),
    "unscreened.try_later": _("ask the sender to try later"),
    "in_doubt.ask": _("a person decides"),
    "in_doubt.resend": _("send it again: rather twice than never"),
    "in_doubt.drop": _("leave it: rather never than twice"),
    "after_hold.forward": _("forward it"),
    "after_hold.refuse": _("refuse it"),
    "flagged.forward": _("is forwarded as it is"),
    "flagged.warn": _("is forwarded with a warning"),
}

MODES: dict[str, tuple[Words, Words]] = {
    "enforce": (_("Enforce"), _("Verdicts are carried out.")),
    "observe": (_("Observe"), _("Verdicts are recorded, and everything is forwarded.")),
    "bypass": (_("Bypass"), _("Everything is forwarded unscreened, until a time: for a bad day.")),
}

STATES: dict[str, tuple[Words, str, str]] = {  # state -> words, kind and icon of the badge
    "open": (_("connected"), "good", "circle-check"),
    "bound": (_("logged in"), "good", "circle-check"),
    "connecting": (_("connecting"), "info", "loader-circle"),
    "waiting": (_("down: tried again soon"), "bad", "plug"),
    "leaving": (_("leaving"), "info", "log-out"),
    "closed": (_("closed"), "bad", "plug"),
    "paused": (_("pauses: it asked for less"), "warn", "circle-pause"),
    "off": (_("not in use"), "", "circle-slash"),
}

MODE_BADGES: dict[str, tuple[str, str]] = {  # mode -> kind and icon of the badge
    "enforce": ("good", "shield-check"),
    "observe": ("warn", "eye"),
    "bypass": ("bad", "shield-x"),
}

NOW: tuple[tuple[str, Words], ...] = (  # what is there at this moment
    ("queued", _("Queued")),
    ("in_flight", _("Under way")),
    ("held", _("Held for review")),
    ("waiting_reports", _("Waiting for reports")),
    ("reports_to_tell", _("Reports to tell")),
)

TOTALS: tuple[tuple[str, Words], ...] = (  # counted since the start
    ("accepted", _("Accepted")),
    ("refused", _("Refused")),
    ("forwarded", _("Forwarded")),
    ("delivered", _("Delivered")),
    ("undelivered", _("Not delivered")),
    ("expired", _("Expired")),
    ("refused_upstream", _("Refused by SMSCs")),
    ("originated", _("From subscribers")),
)

REFUSALS: dict[str, Words] = {  # why a message was not taken
    "throttled": _("too fast"),
    "blocked": _("blocked by screening"),
    "try_later": _("asked to try later"),
    "bad_source": _("source number not allowed"),
    "bad_destination": _("recipient's number is wrong"),
    "bad_time": _("time is wrong"),
    "bad_content": _("content cannot be read"),
    "no_route": _("no route"),
    "not_allowed": _("not allowed"),
    "queue_full": _("queue is full"),
    "bad_service": _("service is wrong"),
    "system": _("fault of the gateway"),
}

ALARMS: dict[str, Words] = {
    "registry_unusable": _("The published accounts and routes cannot be read"),
    "portability_unreadable": _("The file of ported numbers cannot be read"),
    "certificate_unusable": _("The gateway's certificate cannot be read"),
    "logins_refused": _("Logins are refused"),
    "smsc_down": _("An SMSC cannot be reached; what goes to it waits, or takes another way"),
    "bypass_in_force": _("Messages pass unscreened: a bypass was ordered"),
    "journal_stranded": _("A worker that is not run any more has not finished what it took on"),
    "messages_unscreened": _("Messages passed without being screened"),
    "policy_unusable": _("A published policy cannot be used; the one before stays in force"),
    "shadow_behind": _("The shadow model does not keep up; it is skipped at times"),
    "ledger_cannot_write": _("The ledger cannot write: messages are answered with try-later"),
    "journal_cannot_write": _("The gateway's journal cannot be written: messages are answered with try-later"),
}

ENDS: dict[str, Words] = {  # why a connection ended
    "peer_left": _("the other side left"),
    "we_left": _("we left"),
    "login_timeout": _("no login in time"),
    "login_refused": _("the login was refused"),
    "no_heartbeat": _("no heartbeat came"),
    "no_answer": _("no answer came"),
    "broken_stream": _("what came was no packet"),
    "out_of_turn": _("a packet came out of turn"),
    "idle": _("nothing was sent for long"),
    "cut": _("the line was cut"),
}

REASONS: dict[str, Words] = {  # why a message waits for a person
    "power_cut": _("the gateway stopped before the answer"),
    "no_answer": _("no answer came"),
    "released": _("released at the review desk"),
    "in_doubt_resent": _("sent again after doubt"),
    "resent": _("sent again"),
    "hold_over": _("nobody decided in time"),
}


def field_words(kind: str, name: str) -> tuple[str, str]:
    """Label and help of a field; one that has no words shows its name."""
    label, help_text = FIELDS.get(f"{kind}.{name}") or FIELDS.get(name) or (name, "")
    return str(label), str(help_text)


def choice_word(field: str, value: str) -> str:
    return str(CHOICES.get(f"{field}.{value}") or CHOICES.get(value) or value)


def state_words(state: str) -> tuple[str, str, str]:
    """Words, the badge's kind and icon. A state that a newer gateway has is shown as it is."""
    words, kind, icon = STATES.get(state, (state, "", ""))
    return str(words), kind, icon


def refusal_word(why: str) -> str:
    return str(REFUSALS.get(why, why))


def alarm_word(code: str) -> str:
    return str(ALARMS.get(code, code))


def end_word(end: str) -> str:
    """Why a connection ended, or what a peer answered. What is not known here is shown as it is."""
    return str(ENDS[end]) if end in ENDS else _known(end)


def reason_word(reason: str) -> str:
    """Why a message waits. A sentence of the gateway, or a code that a newer one has, is shown as it is."""
    return str(REASONS[reason]) if reason in REASONS else _known(reason)


def detail_words(detail: str) -> str:
    """What an alarm says besides."""
    return _known(detail)


# Sentences of the gateway and of the system below it, for people.
_SENTENCES: tuple[tuple[re.Pattern[str], Words], ...] = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (r"ConnectionRefusedError.*", _("connection refused: nobody listens there")),
        (r"(TimeoutError|ConnectionTimeoutError).*", _("the other side does not answer")),
        (r"(ConnectionResetError|BrokenPipeError).*", _("the line was cut")),
        (r"gaierror.*", _("its name has no address")),
        (r"SSLCertVerificationError.*", _("its certificate cannot be verified")),
        (r"SSLError.*", _("TLS failed")),
        (r"OSError.*(unreachable|No route to host).*", _("no way through the network")),
        (r"the login was refused", _("it refused our login")),
        (r"its proof of the secret is wrong", _("it does not prove that it knows the secret")),
        (r"(?P<protocol>cmpp|sgip|smgp|smpp) status (?P<code>\w+)", _("it answered with status %(code)s")),
        (r"no route.*", _("no route")),
        (r"(?P<n>\d+) from (?P<address>\S+)", _("%(n)s from %(address)s")),
    )
)


def _known(said: str) -> str:
    return _translated(_SENTENCES, said)


def _translated(known: tuple[tuple[re.Pattern[str], Words], ...], said: str) -> str:
    for pattern, words in known:
        if (match := pattern.fullmatch(said)) is not None:
            return str(words) % match.groupdict() if match.groupdict() else str(words)
    return said


# What the registry expects of a field, as its sentences have it, for people.
_EXPECTED: tuple[tuple[re.Pattern[str], Words], ...] = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (r"1 to 32 of a-z.*", _("1 to 32 of a-z, 0-9, dot, hyphen, underscore, beginning with a letter or digit")),
        (r"1 to 21 digits", _("1 to 21 digits")),
        (r"an IP address or network.*", _("an IP address or network, such as 10.1.0.0/16")),
        (r"HOST:PORT", _("HOST:PORT")),
        (r"a name of the time-zone database", _("a time zone, such as Asia/Shanghai")),
        (r"at most (?P<n>\d+) octets.*", _("at most %(n)s octets in this protocol")),
        (r"another login than that of (?P<name>.*)", _("another login: %(name)s has this one")),
        (r"an SMSC among (?P<names>.*)", _("an SMSC that there is: %(names)s")),
        (r"an account among (?P<names>.*)", _("an account that there is: %(names)s")),
        (r"a class among (?P<names>.*)", _("a traffic class that there is: %(names)s")),
        (r"String should match pattern '\^\(\[0-9a-f\].*", _("64 hexadecimal digits, lower case")),
        (r"a field among (?P<names>.*)", _("a field that there is: %(names)s")),
        (r"a table of fields and TLV tags.*", _("a field and its TLV tag, such as imsi=0x1501")),
        (r"a TLV tag of its own", _("a TLV tag that no other field has")),
        (r"a TLV tag, .*", _("a TLV tag, 0x0000 to 0xFFFF")),
        (r"none, unless party .*", _("none, unless the messages are subscribers'")),
        (r"none, unless the protocol is smpp.*", _("none, unless the protocol is SMPP: HTTP names them itself")),
        (r"Tuple should have at least 1 item.*", _("at least one, one a line")),
    )
)


def expected_words(expected: str) -> str:
    """What the registry expects, in the page's language. What is not known here is shown as it is."""
    return _translated(_EXPECTED, expected)
