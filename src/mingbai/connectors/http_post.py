"""One POST to an address that somebody else runs: no redirects, no proxy, a time limit for the whole of it."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

from mingbai import __version__
from mingbai.connectors.deadline import Deadline, within
from mingbai.kernel.errors import BadValue, MingbaiError
from mingbai.settings import is_loopback


class NotDelivered(MingbaiError):
    """The other side did not take it. `cause` says why, without the address, which may hold a secret."""

    code = "not_delivered"
    template = "{host}: {cause}"
    retryable = True


def check_url(url: str, field: str = "url") -> str:
    """The address if it may be posted to: https, or http to this machine. Raises BadValue."""
    parts = urlsplit(url)
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
    try:
        is_whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_whole = False
    is_plain = url.isascii() and url.isprintable() and " " not in url and not (parts.username or parts.password)
    if not is_safe or not is_whole or not is_plain or parts.fragment:
        raise BadValue(
            field=field, value=url, expected="an https:// address (http:// to this machine only) without user"
        )
    return url


def post(url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float) -> int:
    """The status of the answer, whose body is not read. Raises NotDelivered for anything short of an answer."""
    parts = urlsplit(check_url(url))
    host, is_tls = parts.hostname or "", parts.scheme == "https"
    kind = http.client.HTTPSConnection if is_tls else http.client.HTTPConnection
    with _said(host, timeout_s) as deadline:
        connection = kind(host, parts.port or kind.default_port, timeout=timeout_s)
        try:
            connection.sock = socket.create_connection((host, connection.port), timeout_s)
            deadline.watch(connection.sock)
            if is_tls:
                connection.sock = ssl.create_default_context().wrap_socket(connection.sock, server_hostname=host)
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("POST", target, body, {"User-Agent": f"mingbai/{__version__}", **headers})
            return connection.getresponse().status
        finally:
            connection.close()


@contextmanager
def _said(host: str, timeout_s: float) -> Iterator[Deadline]:
    """Whatever goes wrong on the network, as NotDelivered, at the latest after the time limit."""
    with within(timeout_s) as deadline:
        try:
            yield deadline
        except (OSError, http.client.HTTPException, ValueError) as error:
            if deadline.is_over or isinstance(error, TimeoutError):
                cause = f"no answer within {timeout_s:g} s"
            elif isinstance(error, ssl.SSLCertVerificationError):
                cause = f"the certificate is not valid: {error.verify_message}"
            elif isinstance(error, http.client.RemoteDisconnected):
                cause = "the connection was closed without an answer"
            else:
                cause = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
            raise NotDelivered(host=host, cause=cause) from error
