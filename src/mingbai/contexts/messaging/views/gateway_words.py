"""The gateway's words for people: kinds of rows, their fields with help, states, modes, reasons."""

from __future__ import annotations

import re

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

# field -> label, help. Where kinds differ: kind.field.
FIELDS: dict[str, tuple[Words, Words]] = {
    "name": (_("Name"), _("1 to 32 of a-z, 0-9, dot, hyphen, underscore. It cannot be changed.")),
    "active": (_("In use"), _("Without it, this is kept and not used.")),
    "protocol": (_("Protocol"), ""),
    "login": (_("Login"), _("CMPP: 6 characters at most, SMGP: 8, SMPP: 15, SGIP and HTTP: 16.")),
    "secret": (_("Secret"), _("Never shown. Left empty, it stays as it is.")),
    "alphabet": (_("Alphabet of data coding 0"), _("SMPP only; empty: as usual for the protocol.")),
    "zone": (_("Time zone"), _("Of times without one in its messages, such as Asia/Shanghai.")),
    "party": (_("Whose messages"), ""),
    "traffic": (_("Traffic class"), _("What holds when something goes wrong.")),
    "access_codes": (_("Access codes"), _("It may send from numbers that begin so; one a line. Without one: nothing.")),
    "addresses": (_("Addresses"), _("It may connect from these IP addresses or networks; one a line. None: nowhere.")),
    "connections": (_("Connections"), _("At most so many at a time.")),
    "window": (_("Sliding window"), _("Messages under way at once on a connection.")),
    "rate_per_s": (_("Rate a second"), _("Messages; 0: no limit.")),
    "blocked": (_("A blocked message"), ""),
    "blocked_code": (_("Error code for blocked"), _("In place of the protocol's usual one.")),
    "callback": (_("Callback"), _("SGIP: HOST:PORT where reports and replies are brought to.")),
    "certificate": (_("Certificate"), _("SHA-256 of its TLS certificate, 64 hexadecimal digits; empty: any.")),
    "skew_s": (_("Clock difference"), _("Seconds that its clock may be off at a login; 0: not looked at.")),
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
    "to": (_("To"), _("Names of SMSCs, one a line: the first that can take it.")),
    "accounts": (_("From accounts"), _("Names, one a line. None: any.")),
    "destinations": (_("Destinations"), _("How the recipient's number begins, one a line. None: any.")),
    "networks": (_("Networks"), _("That the recipient belongs to, one a line. None: any.")),
    "unscreened": (_("When it cannot be screened"), ""),
    "in_doubt": (_("When nobody knows whether it was sent"), ""),
    "validity_hours": (_("Valid for"), _("Hours, where a message names no end of its own.")),
    "hold_minutes": (_("Held for"), _("Minutes that a person has to decide.")),
    "after_hold": (_("When nobody decided"), ""),
    "attempts": (_("Attempts"), _("At a temporary refusal, before it is a dead letter.")),
    "flagged": (_("A doubtful message"), ""),
    "warning": (_("Warning"), _("Put before the text of a doubtful message.")),
    "part_wait_s": (_("Wait for parts"), _("Seconds, for the other parts of a long message.")),
    "network": (_("Network"), _("As routes name it.")),
    "prefixes": (_("Prefixes"), _("How its numbers begin, one a line.")),
    "routes.access_codes": (_("Access codes"), _("How the sender's number begins, one a line. None: any.")),
    "smscs.connections": (_("Connections"), _("That the gateway opens.")),
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

STATES: dict[str, tuple[Words, str]] = {  # state -> words, kind of the badge
    "open": (_("connected"), "good"),
    "bound": (_("logged in"), "good"),
    "connecting": (_("connecting"), "info"),
    "waiting": (_("waits to try again"), "warn"),
    "leaving": (_("leaving"), "info"),
    "closed": (_("closed"), "bad"),
    "paused": (_("pauses: it asked for less"), "warn"),
    "off": (_("not in use"), ""),
}

TOTALS: tuple[tuple[str, Words], ...] = (
    ("accepted", _("Accepted")),
    ("refused", _("Refused")),
    ("forwarded", _("Forwarded")),
    ("delivered", _("Delivered")),
    ("undelivered", _("Not delivered")),
    ("expired", _("Expired")),
    ("refused_upstream", _("Refused by SMSCs")),
    ("queued", _("Queued")),
    ("in_flight", _("Under way")),
    ("held", _("Held for review")),
    ("pending_parts", _("Waiting for parts")),
    ("waiting_reports", _("Waiting for reports")),
    ("reports_to_tell", _("Reports to tell")),
    ("unscreened", _("Passed unscreened")),
)

ALARMS: dict[str, Words] = {
    "registry_unusable": _("The published accounts and routes cannot be read"),
    "portability_unreadable": _("The file of ported numbers cannot be read"),
    "certificate_unusable": _("The gateway's certificate cannot be read"),
    "logins_refused": _("Logins are refused"),
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


def state_words(state: str) -> tuple[str, str]:
    """Words and the badge's kind. A state that a newer gateway has is shown as it is."""
    words, kind = STATES.get(state, (state, ""))
    return str(words), kind


def alarm_word(code: str) -> str:
    return str(ALARMS.get(code, code))


def end_word(end: str) -> str:
    return str(ENDS.get(end, end))


def reason_word(reason: str) -> str:
    """Why a message waits. A sentence of the gateway, or a code that a newer one has, is shown as it is."""
    return str(REASONS.get(reason, reason))


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
        (r"Tuple should have at least 1 item.*", _("at least one, one a line")),
    )
)


def expected_words(expected: str) -> str:
    """What the registry expects, in the page's language. What is not known here is shown as it is."""
    for pattern, words in _EXPECTED:
        if (match := pattern.fullmatch(expected)) is not None:
            return str(words) % match.groupdict() if match.groupdict() else str(words)
    return expected
