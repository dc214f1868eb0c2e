"""node-smpp (npm `smpp`, MIT), a peer that strangers wrote: SMPP 3.4 and 5.0, both sides.

The same style as `tests.peers.independent_peer`, and the same events and options as far as node-smpp has them.

    with node_smpp.client(connect=gateway, login="esme", secret="secret", text="您好", coding=8) as client:
        assert client.take("answer")["status"] == 0
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.peers.foreign.packages import NODE_SMPP, node_packages
from tests.peers.independent_peer import Option, Program, arguments, node

SCRIPT = Path(__file__).with_suffix(".js")


def client(*, connect: str, **options: Option) -> Program:
    """An ESME that binds as transceiver, submits, takes receipts. Events: login, answer, report, mo, heartbeat, end."""
    return _start("client", {"connect": connect, **options})


@contextmanager
def server(**options: Option) -> Iterator[Program]:
    """An SMSC on a free port of loopback (`address`). Events: login, message, report-answer, mo-answer, closed, end."""
    with _start("server", options) as program:
        assert program.port
        yield program


def _start(verb: str, options: dict[str, Option]) -> Program:
    modules = node_packages("node-smpp", NODE_SMPP)
    return Program([node(), SCRIPT, verb, *arguments(options)], env={"NODE_PATH": str(modules)})
