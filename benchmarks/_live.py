"""`--live` of `benchmarks/gateway.py`: how soon a change is in force, and that nobody's session ends by it.

Beside 200 connections that send, or send heartbeats, one provider asks again and again, and sees the change in an
answer:

- *account*: its mode goes from observe to enforce and back; a message that the rules stop is taken, or refused.
- *rulebook*: one more rule, each time another, so that nothing of it was compiled before; its word is stopped.
- *certificate*: another file in the place of the gateway's own; a new connection is shown it.

The clock runs from before the change is published (or the file renamed) until the first answer that differs was read.
"""

from __future__ import annotations

import os
import socket
import ssl
import statistics
import struct
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchmarks._gateway import Gateway, Row, account, smsc_row
from benchmarks._load import SECRET, SOURCE, Load, Server, stopped
from mingbai.connectors.gateway_registry import Mode, Registry
from mingbai.connectors.policy_store import publish, shipped_rulebook_text
from mingbai.kernel.clock import utc_now
from mingbai.protocols.logins import make_login
from mingbai.protocols.messages import ShortMessage, write_submit
from mingbai.protocols.pdu import Pdu
from mingbai.protocols.text import coding_of

_TIMES: Final = 5
_MOST_S: Final = 60.0
_ZONE: Final = ZoneInfo("Asia/Shanghai")
_LOGINS: Final = {"busy": "903001", "probe": "903002", "tls": "ming-tls"}
_WANTED: Final = "您的快递已到菜鸟驿站，请凭取件码8-2-3016尽快领取。"
_STOPPED: Final = "专业代开发票，各类发票均可开，联系13900000000。"
_WORDS: Final = ("青石巷口", "白塔寺东", "榆树湾里", "松花砚台", "芦苇荡边")
_RULE: Final = """
[[rule]]
id = "benchmark.live"
category = "spam"
action = "block"
priority = 1000
owner = "benchmark"
reason = "A word that nobody writes"
keywords = ["{word}"]
"""
_HEAD: Final = struct.Struct(">III")
_SMPP_HEAD: Final = struct.Struct(">IIII")
_SUBMIT_RESP, _ACTIVE_TEST, _ACTIVE_TEST_RESP = 0x80000004, 8, 0x80000008
_ENQUIRE_LINK, _ENQUIRE_LINK_RESP, _BIND_RESP = 0x15, 0x80000015, 0x80000009


class Probe:
    """A provider by CMPP that waits for each answer."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sequence = 1
        now = utc_now().astimezone(_ZONE)
        self._send(make_login("cmpp", _LOGINS["probe"], SECRET.encode(), sequence=1, now=now))
        command, _, body = self._frame()
        if command != 0x80000001 or int.from_bytes(body[:4]) != 0:
            raise SystemExit("the gateway does not let the probe in")

    def ask(self, text: str) -> int:
        """The result of its SUBMIT; 0: taken."""
        self._sequence += 1
        message = ShortMessage(SOURCE, ("13700000000",), text.encode("utf-16-be"), coding_of("cmpp", 8))
        pdu = write_submit(message, "cmpp")
        pdu.sequence = self._sequence
        self._send(pdu)
        while True:
            command, sequence, body = self._frame()
            if command == _ACTIVE_TEST:
                self._socket.sendall(_HEAD.pack(13, _ACTIVE_TEST_RESP, sequence) + b"\0")
            elif command == _SUBMIT_RESP and sequence == self._sequence:
                return int.from_bytes(body[8:])  # CMPP 3.0: four octets

    def takes(self, text: str, is_wanted: bool) -> bool:
        """Whether the answer is the one that is waited for: taken, or refused."""
        return (self.ask(text) == 0) is is_wanted

    def close(self) -> None:
        self._socket.close()

    def _send(self, pdu: Pdu) -> None:
        self._socket.sendall(pdu.encode())

    def _frame(self) -> tuple[int, int, bytes]:
        length, command, sequence = _HEAD.unpack(_exactly(self._socket, 12))
        return command, sequence, _exactly(self._socket, length - 12)


class TlsSession:
    """A provider by SMPP over TLS that stays bound, and is asked whether it still is."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket = _tls(port)
        now = utc_now().astimezone(_ZONE)
        self._socket.sendall(make_login("smpp", _LOGINS["tls"], SECRET.encode(), sequence=1, now=now).encode())
        command, status = self._frame()
        if (command, status) != (_BIND_RESP, 0):
            raise SystemExit("the gateway does not let the TLS session in")

    def is_bound(self) -> bool:
        try:
            self._socket.sendall(_SMPP_HEAD.pack(16, _ENQUIRE_LINK, 0, 2))
            return self._frame()[0] == _ENQUIRE_LINK_RESP
        except OSError:
            return False

    def close(self) -> None:
        self._socket.close()

    def shows(self, wanted: bytes) -> bool:
        """Whether a new connection is shown this certificate."""
        with _tls(self._port) as new:
            return new.getpeercert(binary_form=True) == wanted

    def _frame(self) -> tuple[int, int]:
        """The next answer; the gateway's own heartbeats are answered meanwhile."""
        while True:
            length, command, status, sequence = _SMPP_HEAD.unpack(_exactly(self._socket, 16))
            _exactly(self._socket, length - 16)
            if command != _ENQUIRE_LINK:
                return command, status
            self._socket.sendall(_SMPP_HEAD.pack(16, _ENQUIRE_LINK_RESP, 0, sequence))


def _tls(port: int) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # it is looked at, not trusted
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=30))


def _exactly(peer: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        more = peer.recv(count - len(found))
        if not more:
            raise ConnectionError("the gateway closed a connection")
        found += more
    return found


def put_certificate(path: Path) -> bytes:
    """A new key and certificate in one file, in place at once; returns the certificate as a peer is shown it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway.benchmark")])
    now = utc_now()
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    new = path.with_suffix(".new")
    new.write_bytes(secret + made.public_bytes(pem))
    os.replace(new, path)
    return made.public_bytes(serialization.Encoding.DER)


def registry(smsc: Server) -> Row:
    accounts = [
        account("busy", _LOGINS["busy"]),
        account("probe", _LOGINS["probe"]),
        account("tls", _LOGINS["tls"], protocol="smpp"),
    ]
    return {"accounts": accounts, "smscs": [smsc_row("smsc", smsc)], "routes": [{"name": "all", "to": ["smsc"]}]}


def _until(is_there: Callable[[], bool], began: float, what: str) -> float:
    """Milliseconds from `began` until it first is."""
    while not is_there():
        if time.monotonic() - began > _MOST_S:
            raise SystemExit(f"{what} was not in force after {_MOST_S:g} s")
    return (time.monotonic() - began) * 1e3


def _account_changes(gateway: Gateway, probe: Probe) -> list[float]:
    found, published = [], gateway.published()

    def with_mode(mode: Mode) -> Registry:
        accounts = [one.model_copy(update={"mode": mode} if one.name == "probe" else {}) for one in published.accounts]
        return published.model_copy(update={"accounts": tuple(accounts)})

    for number in range(_TIMES):
        mode = Mode.OBSERVE if number % 2 == 0 else Mode.ENFORCE
        wanted = with_mode(mode)
        began = time.monotonic()
        gateway.publish(wanted)
        found.append(_until(partial(probe.takes, _STOPPED, mode is Mode.OBSERVE), began, "a mode"))
    gateway.publish(with_mode(Mode.ENFORCE))
    _until(partial(probe.takes, _STOPPED, False), time.monotonic(), "a mode")
    return found


def _rulebook_changes(gateway: Gateway, probe: Probe) -> list[float]:
    found = []
    for word in _WORDS:
        text = _WANTED + word
        if probe.ask(text) != 0:
            raise SystemExit("a message is stopped before its rule is there")
        rulebook = shipped_rulebook_text() + _RULE.format(word=word)
        began = time.monotonic()
        publish(gateway.data, now=utc_now(), by="benchmark", rulebook=rulebook)
        found.append(_until(partial(probe.takes, text, False), began, "a rule"))
    return found


def _certificate_changes(file: Path, session: TlsSession, problems: list[str]) -> list[float]:
    found = []
    for _ in range(_TIMES):
        began = time.monotonic()
        wanted = put_certificate(file)
        found.append(_until(partial(session.shows, wanted), began, "a certificate"))
        if not session.is_bound():
            problems.append("live: the TLS session ended when the certificate changed")
            break
    return found


def measure(folder: Path, load: Load, problems: list[str]) -> None:
    """Prints a line for each kind of change, then what the sessions say."""
    file = folder / "gateway.pem"
    put_certificate(file)
    with load.smsc() as smsc, Gateway(folder / "data-live", registry(smsc), tls=file) as gateway:
        busy = load.sp(gateway.port, messages=10_000_000, window=16, connections=20, idle=180, rate=200.0,
                       heartbeat=2.0, login=_LOGINS["busy"])  # fmt: skip
        probe, session = Probe(gateway.port), TlsSession(gateway.smpp_port)
        time.sleep(3.0)
        turns = {
            "account": _account_changes(gateway, probe),
            "rulebook": _rulebook_changes(gateway, probe),
            "certificate": _certificate_changes(file, session, problems),
        }
        for kind, found in turns.items():
            print(f"{kind:12} in force after {statistics.median(found):>7.0f} ms, from {min(found):.0f} to "
                  f"{max(found):.0f} ({len(found)} times)")  # fmt: skip
        binds = smsc.peek()["binds"]
        said = stopped(busy)
        print(f"sessions meanwhile: {said['gone']} of 200 ended, {binds - 1} logins to the SMSC beyond the first; "
              f"{said['answered']} answers, p99 {said['p99_us'] / 1e3:.1f} ms; {said['beats']} heartbeats, longest "
              f"{said['longest_beat_s'] * 1e3:.0f} ms")  # fmt: skip
        right = {"gone": 0, "doubled": 0, "undelivered": 0, "refused": {}}
        problems += [f"live: {key} {said[key]}, not {value}" for key, value in right.items() if said[key] != value]
        if binds != 1 or not session.is_bound():
            problems.append(f"live: {binds} logins to the SMSC, the TLS session bound: {session.is_bound()}")
        probe.close()
        session.close()
