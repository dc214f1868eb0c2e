"""smpplib as a client, with the options and the JSON lines of tests/peers/independent/peer.js as far as it has them.

A program of its own: run through tests/peers/foreign/python_clients.py.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import signal
from typing import Any

# Any: smpplib ships no types
smpplib_client: Any = importlib.import_module("smpplib.client")
consts: Any = importlib.import_module("smpplib.consts")
exceptions: Any = importlib.import_module("smpplib.exceptions")
gsm: Any = importlib.import_module("smpplib.gsm")

DECODED = {0: "ascii", 1: "ascii", 3: "latin-1", 8: "utf-16-be"}


class Stopped(Exception):
    """SIGTERM."""


class Session:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.status: int | None = None
        names = ("submitted", "answered", "accepted", "refused", "reports", "mo")
        self.counts = dict.fromkeys(names, 0)
        host, _, port = options.connect.rpartition(":")
        wait_s = options.wait_s if not options.stay else 3600
        self.client = smpplib_client.Client(host, int(port), timeout=wait_s, allow_unknown_opt_params=True)
        self.client.set_message_sent_handler(self.answered)
        self.client.set_message_received_handler(self.delivered)
        self.client.set_error_pdu_handler(self.refused)

    def run(self) -> None:
        self.client.connect()
        try:
            self.client.bind_transceiver(system_id=self.options.login, password=self.options.secret)
        except exceptions.PDUError as error:
            self.status = error.args[1]
            say("login", status=self.status)
            self.client.disconnect()
            return
        self.status = 0
        say("login", status=0)
        for _ in range(self.options.count):
            for number in self.options.to.split(","):
                self.submit(number)
        try:
            while self.options.stay or not self.is_complete():
                self.client.read_once(auto_send_enquire_link=False)
        except (TimeoutError, Stopped):
            pass
        except exceptions.ConnectionError:
            say("closed")
            return
        self.client.unbind()
        self.client.disconnect()

    def submit(self, number: str) -> None:
        parts, coding, esm_class = gsm.make_parts(self.options.text)
        for part in parts:
            self.counts["submitted"] += 1
            self.client.send_message(
                source_addr=self.options.source,
                dest_addr_ton=consts.SMPP_TON_INTL,
                dest_addr_npi=consts.SMPP_NPI_ISDN,
                destination_addr=number,
                short_message=part,
                data_coding=coding,
                esm_class=esm_class,
                registered_delivery=self.options.want_report,
            )

    def is_complete(self) -> bool:
        reports = self.counts["accepted"] if self.options.want_report else 0
        return (
            self.counts["answered"] == self.counts["submitted"]
            and self.counts["reports"] >= reports
            and self.counts["mo"] >= self.options.want_mo
        )

    def answered(self, pdu: Any) -> None:  # Any: smpplib's
        self.counts["answered"] += 1
        self.counts["accepted" if pdu.status == 0 else "refused"] += 1
        say("answer", sequence=pdu.sequence, status=pdu.status, id=(pdu.message_id or b"").decode("ascii"))

    def refused(self, pdu: Any) -> None:  # Any: smpplib's
        """Before `answered`, which smpplib calls then too; without a handler of ours it would raise."""

    def delivered(self, pdu: Any) -> None:  # Any: smpplib's
        ends = {"from": pdu.source_addr.decode(), "to": pdu.destination_addr.decode()}
        text = (pdu.short_message or b"").decode(DECODED.get(pdu.data_coding, "latin-1"), "replace")
        if pdu.esm_class & 0x3C == 0x04:
            self.counts["reports"] += 1
            stat = re.search(r"stat:(\S+)", text)
            identity = (pdu.receipted_message_id or b"").decode("ascii").rstrip("\0")
            say("report", id=identity, stat=stat[1] if stat else "", state=pdu.message_state, receipt=text, **ends)
        else:
            self.counts["mo"] += 1
            say("mo", coding=pdu.data_coding, text=text, **ends)


def say(event: str, **fields: object) -> None:
    print(json.dumps({"event": event, **fields}, ensure_ascii=False), flush=True)  # noqa: T201


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--connect", required=True)
    parser.add_argument("--login", default="900001")
    parser.add_argument("--secret", default="888888")
    parser.add_argument("--source", default="1069000001")
    parser.add_argument("--to", default="13800138000")
    parser.add_argument(
        "--text", default="hello", help="split by smpplib; GSM 03.38, or UCS-2 where that cannot hold it"
    )
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--want-report", action="store_true")
    parser.add_argument("--want-mo", type=int, default=0)
    parser.add_argument("--wait-s", type=float, default=10.0)
    parser.add_argument("--stay", action="store_true")

    def stop(*_: object) -> None:
        raise Stopped

    signal.signal(signal.SIGTERM, stop)
    session = Session(parser.parse_args())
    try:
        session.run()
    except Stopped:
        pass
    unanswered = session.counts["submitted"] - session.counts["answered"]
    say("end", status=session.status, unanswered=unanswered, **session.counts)


if __name__ == "__main__":
    main()
