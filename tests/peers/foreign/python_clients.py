"""Clients from PyPI that strangers wrote, each in a process of its own: smpplib (SMPP 3.4) and pycmpp (CMPP 2).

The same style as `tests.peers.independent_peer`: `Program`s with the events login, answer, report, mo, end.

    with python_clients.smpplib(connect=gateway, login="esme", secret="secret", text="您好") as client:
        assert client.take("answer")["status"] == 0

What pycmpp 2.0.2 does that a gateway must bear: it says version 0x21, leaves `src_id` empty, splits at 64 characters
with an 8-bit reference, and reads neither reports nor messages (they stay unanswered). It answers an ACTIVE_TEST with
16 octets that call themselves 13, after which nothing that it sends can be read: send it none.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.peers.independent_peer import Option, Program, arguments

HERE = Path(__file__).parent


def smpplib(*, connect: str, **options: Option) -> Program:
    """Binds as transceiver, submits (split by smpplib itself), takes receipts."""
    return Program([sys.executable, HERE / "run_smpplib.py", *arguments({"connect": connect, **options})])


def pycmpp(*, connect: str, **options: Option) -> Program:
    """Logs in, submits in UCS-2 (split by pycmpp itself). `login` must have six characters."""
    return Program([sys.executable, HERE / "run_pycmpp.py", *arguments({"connect": connect, **options})])
