"""pycmpp as a client, with the options and the JSON lines of tests/peers/independent/peer.js as far as it has them.

A program of its own: run through tests/peers/foreign/python_clients.py. What to know of pycmpp 2.0.2 stands there.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

# Any: pycmpp ships no types
pycmpp: Any = importlib.import_module("pycmpp.cmpp")
defines: Any = importlib.import_module("pycmpp.cmpp_defines")
handlers: Any = importlib.import_module("pycmpp.handlers")
response: Any = importlib.import_module("pycmpp.response")

changed = threading.Condition()
counts = dict.fromkeys(("submitted", "answered", "accepted", "refused", "heartbeats"), 0)
login: dict[str, int | None] = {"status": None}
is_stopped = threading.Event()


class Connected(handlers.CmppConnectRespHandler):  # type: ignore[misc]  # pycmpp ships no types
    def __call__(self) -> None:
        super().__call__()
        answer = response.ConnectResponseInstance()
        answer.resolve(self.message)
        say("login", status=answer.status, version=answer.version)
        with changed:
            login["status"] = answer.status
            changed.notify_all()


class Submitted(handlers.CmppSubmitRespHandler):  # type: ignore[misc]  # pycmpp ships no types
    def __call__(self) -> None:
        super().__call__()
        answer = response.SubmitResponseInstance()
        answer.resolve(self.message)
        say("answer", sequence=answer.seq_id, status=answer.status, id=f"{answer.msg_id:016x}")
        with changed:
            counts["answered"] += 1
            counts["accepted" if answer.status == 0 else "refused"] += 1
            changed.notify_all()


class HeartbeatAnswered(handlers.CmppActiveTestRespHandler):  # type: ignore[misc]  # pycmpp ships no types
    def __call__(self) -> None:
        super().__call__()
        say("heartbeat-answer")
        with changed:
            counts["heartbeats"] += 1


def say(event: str, **fields: object) -> None:
    print(json.dumps({"event": event, **fields}, ensure_ascii=False), flush=True)  # noqa: T201


def wait(condition: Callable[[], bool], within_s: float) -> bool:
    with changed:
        return bool(changed.wait_for(lambda: is_stopped.is_set() or condition(), timeout=within_s))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--connect", required=True)
    parser.add_argument("--login", default="900001", help="exactly six characters")
    parser.add_argument("--secret", default="888888")
    parser.add_argument("--to", default="13800138000")
    parser.add_argument("--text", default="hello", help="always UCS-2; split by pycmpp")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--want-report", action="store_true", help="asked for, never read")
    parser.add_argument("--wait-s", type=float, default=10.0)
    parser.add_argument("--heartbeat", action="store_true")
    parser.add_argument("--stay", action="store_true")
    options = parser.parse_args()

    def stop(*_: object) -> None:
        is_stopped.set()

    signal.signal(signal.SIGTERM, stop)
    host, _, port = options.connect.rpartition(":")
    client = pycmpp.Cmpp(host, int(port), options.login, options.secret, "", int(options.want_report))
    client.handlers.update(
        {
            defines.CMPP_CONNECT_RESP: Connected,
            defines.CMPP_SUBMIT_RESP: Submitted,
            defines.CMPP_ACTIVE_TEST_RESP: HeartbeatAnswered,
        }
    )
    submit_request = pycmpp.SubmitRequestInstance.create

    def count_submissions(*arguments: Any, **fields: Any) -> bytes:  # Any: pycmpp's
        counts["submitted"] += 1
        made: bytes = submit_request(*arguments, **fields)
        return made

    pycmpp.SubmitRequestInstance.create = count_submissions
    client.connect()
    client.auth()
    threading.Thread(target=client.receive, daemon=True).start()
    if wait(lambda: login["status"] is not None, options.wait_s) and login["status"] == 0:
        if options.heartbeat:
            threading.Thread(target=client.heartbeat, daemon=True).start()
        for _ in range(options.count):
            client.submit(options.text, options.to.split(","))
        wait(lambda: counts["answered"] == counts["submitted"], options.wait_s)
        if options.stay:
            while not is_stopped.wait(0.05):
                pass
        client.terminate()
    say("end", unanswered=counts["submitted"] - counts["answered"], **login, **counts)
    os._exit(0)  # its threads never end


if __name__ == "__main__":
    main()
