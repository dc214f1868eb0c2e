"""Logins of all protocols: right, wrong, late, unknown; and that a refusal tells nothing."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from mingbai.kernel.errors import BadValue
from mingbai.protocols import cmpp, sgip, smgp, smpp
from mingbai.protocols.logins import (
    Denied,
    Direction,
    claimed,
    deny,
    direction_of,
    grant,
    is_right,
    is_server_right,
    make_login,
    proof_of,
)
from mingbai.protocols.pdu import Pdu

CHINA = timezone(timedelta(hours=8))
NOW = datetime(2026, 11, 25, 13, 45, 10, tzinfo=CHINA)
PROTOCOLS = [("cmpp", 0x20), ("cmpp", 0x30), ("sgip", 0), ("smgp", 0x30), ("smpp", 0x34)]
each = pytest.mark.parametrize(("protocol", "version"), PROTOCOLS)


def login(protocol: str, version: int, secret: bytes = b"s3cret", **more: Direction) -> Pdu:
    sequence = (1, 2, 3) if protocol == "sgip" else 1
    return make_login(protocol, "900001", secret, sequence=sequence, now=NOW, version=version, **more)


@each
def test_who_knows_the_secret_is_let_in_and_learns_that_the_server_knows_it(protocol: str, version: int) -> None:
    asked = login(protocol, version)
    assert claimed(asked) == "900001"
    assert is_right(asked, b"s3cret", now=NOW)
    answer = grant(asked, b"s3cret")
    assert answer.sequence == asked.sequence
    assert is_server_right(asked, answer, b"s3cret")
    if proof_of(asked) is not None:
        assert not is_server_right(asked, grant(asked, b"guess"), b"s3cret")


@each
def test_a_wrong_secret_and_an_unknown_account_are_one(protocol: str, version: int) -> None:
    asked = login(protocol, version, b"guess")
    assert not is_right(asked, b"s3cret", now=NOW)
    assert not is_right(asked, None, now=NOW)
    assert not is_right(login(protocol, version, b"\0nobody"), None, now=NOW)
    answer = deny(asked, Denied.CREDENTIALS)
    assert deny(asked, Denied.CREDENTIALS).encode() == answer.encode()
    assert getattr(answer, "status", getattr(answer, "result", 0)) != 0
    for name in ("auth_ismg", "auth_server"):
        assert not any(getattr(answer, name, b""))


@pytest.mark.parametrize(("protocol", "version"), [("cmpp", 0x20), ("cmpp", 0x30), ("smgp", 0x30)])
def test_a_login_of_another_time_is_refused_where_the_operator_says_so(protocol: str, version: int) -> None:
    asked = login(protocol, version)
    assert is_right(asked, b"s3cret", now=NOW + timedelta(minutes=9))
    assert not is_right(asked, b"s3cret", now=NOW + timedelta(minutes=11))
    assert is_right(asked, b"s3cret", now=NOW + timedelta(days=90), skew=None)
    new_year = datetime(2027, 1, 1, 0, 3, tzinfo=CHINA)
    late = make_login(protocol, "900001", b"s3cret", sequence=1, now=new_year - timedelta(minutes=5), version=version)
    assert is_right(late, b"s3cret", now=new_year)
    late.timestamp = 1399999999  # type: ignore[attr-defined]  # of both
    assert not is_right(late, b"s3cret", now=new_year)


def test_the_published_digest_of_cmpp() -> None:
    """github.com/bigwhite/gocmpp, connect_test.go."""
    asked = cmpp.Connect(
        sequence=1,
        source_addr=b"900001",
        auth_source=bytes.fromhex("90d00c1d517abd0b4f65f6bcf8535d16"),
        timestamp=1021080510,
    )
    assert is_right(asked, b"888888", now=NOW, skew=None)


@each
def test_every_reason_has_a_code(protocol: str, version: int) -> None:
    for why in Denied:
        answer = deny(login(protocol, version), why)
        assert getattr(answer, "status", getattr(answer, "result", 0)) != 0


def test_smpp_does_not_tell_which_names_exist() -> None:
    answer = deny(login("smpp", 0x34), Denied.CREDENTIALS)
    assert isinstance(answer, smpp.SmppPdu)
    assert answer.status == smpp.Status.ESME_RBINDFAIL


def test_what_a_connection_is_for() -> None:
    assert direction_of(login("smpp", 0, direction=Direction.SEND)) is Direction.SEND
    assert direction_of(login("smpp", 0, direction=Direction.RECEIVE)) is Direction.RECEIVE
    assert direction_of(login("smgp", 0, direction=Direction.RECEIVE)) is Direction.RECEIVE
    assert direction_of(login("sgip", 0, direction=Direction.RECEIVE)) is Direction.RECEIVE
    assert direction_of(login("cmpp", 0)) is Direction.BOTH


def test_what_is_no_login_is_named() -> None:
    for pdu in (cmpp.ActiveTest(sequence=1), sgip.Unbind(sequence=(1, 2, 3)), smgp.Exit(sequence=1)):
        with pytest.raises(BadValue, match="a login"):
            claimed(pdu)
        with pytest.raises(BadValue, match="a login"):
            grant(pdu, b"")
    with pytest.raises(BadValue, match="protocol"):
        make_login("telnet", "a", b"", sequence=1, now=NOW)


def test_a_name_that_is_too_long_is_refused_when_it_is_written() -> None:
    asked = make_login("cmpp", "9000017", b"x", sequence=1, now=NOW)
    with pytest.raises(BadValue, match="source_addr"):
        asked.encode()
