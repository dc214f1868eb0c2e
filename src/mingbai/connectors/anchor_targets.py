"""Where anchors go: a file, a mailbox, a web-hook. Each takes signed heads and says which of them it has taken.

A target never retries and remembers nothing: `anchor_export` keeps what was not taken and comes again. It gives up at a
fixed time, however slowly the other side dribbles, follows no redirect, and sends neither password nor anchor over a
network in the clear. Sources: RFC 5321 and 3207 (SMTP, STARTTLS), RFC 5322 (mail), RFC 9110 (HTTP).
"""

from __future__ import annotations

import http.client
import os
import smtplib
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import ClassVar, Protocol
from urllib.parse import urlsplit

from mingbai import __version__
from mingbai.connectors.deadline import within
from mingbai.kernel.clock import format_utc
from mingbai.kernel.errors import MingbaiError
from mingbai.ledger import Head, Kind, anchor_bytes, fingerprint
from mingbai.settings import AnchorSettings, is_loopback


class AnchorNotTaken(MingbaiError):
    """A target could not be reached or refused. The anchors wait and go again with the next export."""

    code = "anchor_not_taken"
    template = "{target} did not take the anchor: {cause}"
    retryable = True


class AnchorTarget(Protocol):
    """One place that anchors go to."""

    @property
    def kind(self) -> str:
        """`file`, `mail` or `webhook`: what the ledger notes."""

    @property
    def key(self) -> str:
        """What it is called in the export's state; stays the same as long as it is the same target."""

    @property
    def name(self) -> str:
        """What a person sees; without a secret."""

    def send(self, heads: Sequence[Head], *, now: datetime) -> Iterator[Head]:
        """Hand over the heads, oldest first; yields each that was taken. Raises AnchorNotTaken."""


def targets_of(settings: AnchorSettings) -> list[AnchorTarget]:
    """The targets that are set, in the order of the settings."""
    targets: list[AnchorTarget] = []
    if settings.file is not None:
        targets.append(FileTarget(settings.file))
    if settings.smtp_url is not None and settings.mail_from is not None:
        targets += [MailTarget(address, settings.mail_from, settings) for address in settings.mail_to]
    if settings.webhook_url is not None:
        targets.append(WebhookTarget(settings.webhook_url.get_secret_value(), settings.timeout_s))
    return targets


# -- a file ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FileTarget:
    """A file that anchors are appended to, synced. A line that it has already is not written again."""

    path: Path
    kind: ClassVar[str] = "file"

    @property
    def key(self) -> str:
        return "file"

    @property
    def name(self) -> str:
        return f"file {self.path}"

    def send(self, heads: Sequence[Head], *, now: datetime) -> Iterator[Head]:
        try:
            with open(self.path, "a+b") as file:
                file.seek(0)
                content = file.read()
                present = set(content.splitlines())
                # A line that a crash cut short is closed, so that ours does not grow onto it.
                new = b"\n" if content and not content.endswith(b"\n") else b""
                new += anchor_bytes(head for head in heads if head.to_json() not in present)
                file.write(new)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise AnchorNotTaken(target=self.name, cause=error.strerror or str(error)) from error
        yield from heads


# -- a mailbox ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MailTarget:
    """One mailbox. All anchors that wait go in one mail, as one attachment that `ledger verify` reads as it is."""

    address: str
    sender: str
    settings: AnchorSettings
    kind: ClassVar[str] = "mail"

    @property
    def key(self) -> str:
        return f"mail:{self.address.lower()}"

    @property
    def name(self) -> str:
        return f"mail to {self.address}"

    def send(self, heads: Sequence[Head], *, now: datetime) -> Iterator[Head]:
        message = anchor_mail(heads, sender=self.sender, receiver=self.address, now=now)
        with _giving_up(self.name, self.settings.timeout_s) as watch, self._connected(watch) as client:
            client.send_message(message, from_addr=self.sender, to_addrs=[self.address])  # 250: it is theirs now
        yield from heads

    @contextmanager
    def _connected(self, watch: Callable[[socket.socket], None]) -> Iterator[smtplib.SMTP]:
        """A session with the server: encrypted (or on this machine), and logged in if a user is set."""
        assert self.settings.smtp_url is not None
        url = urlsplit(self.settings.smtp_url)
        host, is_tls = url.hostname or "", url.scheme == "smtps"
        tls = ssl.create_default_context()
        client = smtplib.SMTP(timeout=self.settings.timeout_s, local_hostname=socket.gethostname() or "localhost")
        client._host = host  # type: ignore[attr-defined]  # what STARTTLS checks the certificate against; no public way
        try:
            # Ours instead of `client.connect`: the watch must see the connection before the first byte is awaited.
            client.sock = socket.create_connection(
                (host, url.port or (465 if is_tls else 587)), self.settings.timeout_s
            )
            watch(client.sock)
            if is_tls:
                client.sock = tls.wrap_socket(client.sock, server_hostname=host)
            code, said = client.getreply()
            if code != 220:
                raise smtplib.SMTPConnectError(code, said)
            client.ehlo_or_helo_if_needed()
            if not is_tls and (client.has_extn("starttls") or not is_loopback(host)):
                client.starttls(context=tls)  # SMTPNotSupportedError where it is not offered: then nothing is sent
                client.ehlo_or_helo_if_needed()
            if self.settings.smtp_user is not None and self.settings.smtp_password is not None:
                client.login(self.settings.smtp_user, self.settings.smtp_password.get_secret_value())
            yield client
            try:
                client.putcmd("QUIT")  # a courtesy: the answer is not awaited, and nothing hangs on it any more
            except OSError:
                pass
        finally:
            client.close()


def anchor_mail(heads: Sequence[Head], *, sender: str, receiver: str, now: datetime) -> EmailMessage:
    """The mail: in plain words, in English and Chinese, what it is and what to do with it; the anchors attached."""
    last = heads[-1]
    upto = "".join(f"    {head.stream}: {head.seq:,} ({format_utc(head.at)})\n" for head in _newest(heads))
    message = EmailMessage()
    message["From"] = sender
    message["To"] = receiver
    message["Subject"] = f"Mingbai 明白: ledger anchor 账本锚点, {format_utc(last.at)[:19]}Z"
    message["Date"] = format_datetime(now)
    # Of the content: a mail that goes twice, because its receipt was lost, is the same mail.
    message["Message-ID"] = f"<anchor.{len(heads)}.{last.sha256.hex()}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday notice, please
    message.set_content(_MAIL.format(count=len(heads), upto=upto, key=fingerprint(last.public_key)))
    name = f"mingbai-anchor-{format_utc(last.at)[:19].replace(':', '').replace('-', '')}Z.jsonl"
    message.add_attachment(anchor_bytes(heads), maintype="application", subtype="jsonl", filename=name)
    return message


_MAIL = """\
This mail proves what stood in a Mingbai ledger, and when. Please keep it; there is nothing else to do.

Attached: {count} signed anchor(s). They reach up to these entries:
{upto}
Signed by {key}: compare it with the key that you were told.

If the ledger is ever in doubt, save the attachment and run, on a copy of the ledger, without a network:
    mingbai ledger verify --anchor FILE
It finds whatever was changed, cut off or rewritten since. The mail holds no subscriber's number and no message's text.

————

本邮件证明某个时刻明白账本中有什么。请妥善保存，此外无须处理。

附件：{count} 个已签名的锚点，分别覆盖到上面列出的条目。
签名密钥 {key}：请与您事先记下的核对。

日后如对账本有疑问，请保存附件，在账本副本上离线运行：
    mingbai ledger verify --anchor 文件
此后任何改动、截断或重写都会被查出。本邮件不含用户号码和短信内容。
"""


def _newest(heads: Sequence[Head]) -> list[Head]:
    """The last head of each stream."""
    return list({head.stream: head for head in heads}.values())


# -- a web-hook --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, repr=False)  # the address may hold a secret
class WebhookTarget:
    """An address that each anchor is posted to, as its JSON line. Any answer of 200 to 299 means that it was taken."""

    url: str
    timeout_s: int
    kind: ClassVar[str] = "webhook"

    @property
    def key(self) -> str:
        return "webhook"

    @property
    def name(self) -> str:
        return f"web-hook at {urlsplit(self.url).hostname}"

    def send(self, heads: Sequence[Head], *, now: datetime) -> Iterator[Head]:
        for head in heads:
            with _giving_up(self.name, self.timeout_s) as watch:
                status = self._post(head, watch)
            if not 200 <= status <= 299:
                raise AnchorNotTaken(target=self.name, cause=_refusal(status))
            yield head

    def _post(self, head: Head, watch: Callable[[socket.socket], None]) -> int:
        """The status of the answer; its body is of no interest and is not read."""
        url = urlsplit(self.url)
        host, is_tls = url.hostname or "", url.scheme == "https"
        kind = http.client.HTTPSConnection if is_tls else http.client.HTTPConnection
        connection = kind(host, url.port or kind.default_port, timeout=self.timeout_s)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"mingbai/{__version__}",
            "Mingbai-Event": str(Kind.HEAD_EXPORTED),
            "Mingbai-Signature": f"ed25519={head.signature.hex()}",
            "Mingbai-Delivery": head.sha256.hex(),  # the same when an anchor comes twice
        }
        try:
            connection.sock = socket.create_connection((host, connection.port), self.timeout_s)
            watch(connection.sock)
            if is_tls:
                connection.sock = ssl.create_default_context().wrap_socket(connection.sock, server_hostname=host)
            connection.request(
                "POST", (url.path or "/") + (f"?{url.query}" if url.query else ""), head.to_json(), headers
            )
            return connection.getresponse().status
        finally:
            connection.close()


def _refusal(status: int) -> str:
    if 300 <= status <= 399:
        return f"answered {status}: redirects are not followed"
    return f"answered {status}"


# -- giving up ---------------------------------------------------------------------------------------------------------


@contextmanager
def _giving_up(target: str, timeout_s: int) -> Iterator[Callable[[socket.socket], None]]:
    """Turn whatever goes wrong on the network into AnchorNotTaken, at the latest after `timeout_s` seconds.

    The connection handed to the function that this gives is shut down when the time is over.
    """
    with within(timeout_s) as deadline:
        try:
            yield deadline.watch
        except (OSError, http.client.HTTPException, ValueError) as error:  # smtplib's: OSErrors; ValueError: bad names
            if deadline.is_over or isinstance(error, TimeoutError):
                cause = f"no answer within {timeout_s} s"
            else:
                cause = _cause(error)
            raise AnchorNotTaken(target=target, cause=cause) from error


def _cause(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return f"the login was refused ({error.smtp_code})"
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return "the mail server offers no encryption (STARTTLS) or no login"
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = sorted({code for code, _ in error.recipients.values()})
        return f"the mailbox was refused ({', '.join(map(str, codes))})"
    if isinstance(error, smtplib.SMTPResponseException):
        return f"the mail server answered {error.smtp_code}"
    if isinstance(error, smtplib.SMTPServerDisconnected | http.client.RemoteDisconnected):
        return "the connection was closed without an answer"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not valid: {error.verify_message}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
