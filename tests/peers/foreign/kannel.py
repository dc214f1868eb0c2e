"""Kannel (Debian `kannel`), a gateway that strangers wrote, as an ESME of ours: bearerbox and smsbox on free ports.

    with Kannel(connect=gateway, system_id="kannel", password="secret") as kannel:
        sent = kannel.send("13800138000", "您好", sender="1069000001")
        assert kannel.take("report", token=sent)["type"] == "delivered"

Events: `report` (the DLR URL was called: token, type, from, to, id, answer) and `mo` (a message came: from, to, coding,
text). Both reach a small web server of this process, as they would reach a customer's.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from tests.peers.independent_peer import LOOPBACK, WAIT_S, Events, PeerError
from tests.peers.mail import free_port

USER, PASSWORD = "tester", "correct-horse"
# What `%d` of a DLR URL says; a mask of all but `buffered` asks for every one that ends something.
DLR_TYPES = {1: "delivered", 2: "undelivered", 4: "buffered", 8: "accepted", 16: "rejected"}
DLR_MASK = 1 + 2 + 8 + 16
MO_CHARSETS = {"0": "utf-8", "1": "latin-1", "2": "utf-16-be"}

CONFIGURATION = """\
group = core
admin-port = {admin_port}
admin-interface = {loopback}
admin-password = {password}
smsbox-port = {smsbox_port}
smsbox-interface = {loopback}
box-allow-ip = {loopback}
dlr-storage = internal

{smsc_groups}
group = smsbox
bearerbox-host = {loopback}
sendsms-port = {sendsms_port}
sendsms-interface = {loopback}
mo-recode = false

group = sendsms-user
username = {user}
password = {password}
concatenation = true
max-messages = 20

group = sms-service
keyword = default
catch-all = true
max-messages = 0
get-url = "http://{loopback}:{web_port}/mo?from=%p&to=%P&coding=%c&charset=%C&udh=%u&text=%b"
"""

SMSC_GROUP = """\
group = smsc
smsc = smpp
smsc-id = gateway
host = {host}
{port_option} = {port}
transceiver-mode = {transceiver}
smsc-username = "{system_id}"
smsc-password = "{secret}"
system-type = "{system_type}"
interface-version = 34
max-pending-submits = {window}
enquire-link-interval = {enquire_link_s}
reconnect-delay = 1
"""


class Kannel(Events):
    """Bound to `connect` (host:port) once the `with` begins; `transceiver=False` binds a transmitter and a receiver.

    wait_bound: False begins without waiting for the bind, for a gateway that is to refuse it (`links` tells the state).
    more: further lines for the `smsc` group, as Kannel's user guide names them, for example `alt-charset = "GBK"`.
    """

    def __init__(
        self,
        *,
        connect: str,
        system_id: str,
        password: str,
        system_type: str = "",
        transceiver: bool = True,
        wait_bound: bool = True,
        window: int = 10,
        enquire_link_s: int = 30,
        more: str = "",
    ) -> None:
        super().__init__()
        self._wait_bound = wait_bound
        self._is_closed = False
        self._tokens = itertools.count(1)
        self._folder = Path(tempfile.mkdtemp(prefix="kannel-"))
        self._processes: list[subprocess.Popen[bytes]] = []
        self._web = ThreadingHTTPServer((LOOPBACK, 0), _handler(self))
        self._serving = threading.Thread(target=self._web.serve_forever, daemon=True)
        self._serving.start()
        host, _, port = connect.rpartition(":")
        self._admin_port, self._smsbox_port, self._sendsms_port = free_port(), free_port(), free_port()
        smsc = {
            "host": host,
            "port": port,
            "transceiver": "true" if transceiver else "false",
            "system_id": system_id,
            "secret": password,
            "system_type": system_type,
            "window": window,
            "enquire_link_s": enquire_link_s,
        }
        options = ["port"] if transceiver else ["port", "receive-port"]  # one that transmits and one that receives
        self._configuration = self._folder / "kannel.conf"
        self._configuration.write_text(
            CONFIGURATION.format(
                loopback=LOOPBACK,
                admin_port=self._admin_port,
                smsbox_port=self._smsbox_port,
                sendsms_port=self._sendsms_port,
                web_port=self._web.server_port,
                user=USER,
                password=PASSWORD,
                smsc_groups="\n".join(SMSC_GROUP.format(**smsc, port_option=option) + more for option in options),
            )
        )

    def send(self, to: str, text: str, *, sender: str, want_report: bool = True) -> str:
        """Hands a message to smsbox: in GSM 03.38 if the text is ASCII, else in UCS-2. Gives a token for `take`."""
        token = f"t{next(self._tokens)}"
        query = {"username": USER, "password": PASSWORD, "from": sender, "to": to, "text": text, "charset": "UTF-8"}
        query["coding"] = "0" if text.isascii() else "2"
        if want_report:
            url = f"http://{LOOPBACK}:{self._web.server_port}/dlr?token={token}&type=%d&from=%p&to=%P&id=%F&answer=%A"
            query |= {"dlr-mask": str(DLR_MASK), "dlr-url": url}
        answer = self._get(self._sendsms_port, f"cgi-bin/sendsms?{urllib.parse.urlencode(query)}")
        if not answer.startswith(("0:", "3:")):  # accepted; queued for later
            raise PeerError(self._complaint(f"sendsms: {answer}"))
        return token

    def links(self) -> list[str]:
        """What bearerbox says of its connections to the SMSC: `online 12s`, `re-connecting`, ..."""
        return [smsc.findtext("status", "") for smsc in self._status().iterfind("smscs/smsc")]

    # ------------------------------------------------------------------------------------------------ start and end
    def __enter__(self) -> Self:
        try:
            self._start("bearerbox")
            self._wait("bearerbox", lambda: self.links() != [])
            self._start("smsbox")
            self._wait("smsbox", lambda: self._status().find("boxes/box") is not None)
            if self._wait_bound:
                self._wait("the bind", lambda: all(link.startswith("online") for link in self.links()))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Unbinds and ends both programs. May be called twice."""
        for process in reversed(self._processes):  # smsbox first, so that bearerbox has nobody to wait for
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if not self._is_closed:
            self._is_closed = True
            self._web.shutdown()
            self._web.server_close()
            self._serving.join()
            shutil.rmtree(self._folder)

    def _start(self, program: str) -> None:
        """Debian keeps the programs in /usr/sbin, which is not on everybody's path."""
        found = shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
        assert found is not None, "Kannel is missing: mark the test with needs('kannel')"
        with (self._folder / f"{program}.log").open("wb") as log:
            command = [found, "-v", "1", str(self._configuration)]  # 1: no debugging output
            self._processes.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder))

    def _status(self) -> Element:
        page = self._get(self._admin_port, f"status.xml?password={PASSWORD}")
        return ElementTree.fromstring(page)  # noqa: S314 - from a program that this test started

    def _wait(self, what: str, is_there: Callable[[], bool]) -> None:
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            try:
                if is_there():
                    return
            except (OSError, urllib.error.URLError):
                pass
            if any(process.poll() is not None for process in self._processes):
                break
            time.sleep(0.05)
        raise PeerError(self._complaint(f"waited for {what}"))

    def _get(self, port: int, path: str) -> str:
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/{path}", timeout=WAIT_S) as answer:
                text: str = answer.read().decode("utf-8")
                return text
        except urllib.error.HTTPError as error:  # sendsms says why in the body
            return error.read().decode("utf-8", "replace")

    def _complaint(self, what: str) -> str:
        logs = [path.read_text("utf-8", "replace")[-3000:] for path in sorted(self._folder.glob("*.log"))]
        return "\n".join([super()._complaint(what), *logs])


def _handler(kannel: Kannel) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            said = {name: values[0] for name, values in _parse(query).items()}
            if path == "/dlr":
                kannel.note({"event": "report", **_texts(said), "type": DLR_TYPES[int(said["type"])]})
            else:
                charset = MO_CHARSETS.get(said["coding"].decode(), "latin-1")
                kannel.note({"event": "mo", **_texts(said), "text": said.get("text", b"").decode(charset, "replace")})
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


def _parse(query: str) -> dict[str, list[bytes]]:
    """As octets: a message's text comes in the coding of the message."""
    named = urllib.parse.parse_qs(query, keep_blank_values=True, encoding="latin-1")
    return {name: [value.encode("latin-1") for value in values] for name, values in named.items()}


def _texts(said: dict[str, bytes]) -> dict[str, str]:
    return {name: value.decode("utf-8", "replace") for name, value in said.items()}
