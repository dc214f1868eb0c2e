"""A mail server and a web server on loopback that behave, refuse, or stall; and a certificate for them."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USER, PASSWORD = "mingbai", "correct horse"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def make_certificate(path: Path) -> ssl.SSLContext:
    """A certificate for localhost and 127.0.0.1, in `path` (to be trusted); returns the server's TLS with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret = path.with_suffix(".key")
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, secret)
    return context


@dataclass
class Mailbox:
    """What a mail server took."""

    mails: list[Envelope] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    logins: list[str] = field(default_factory=list)

    # Any: what aiosmtpd hands over
    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address in self.refused:
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # Any: as above
        self.mails.append(envelope)
        return "250 OK"

    def authenticate(
        self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any
    ) -> AuthResult:  # Any: as above
        good = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        self.logins.append("good" if good else "bad")
        return AuthResult(success=good, handled=False)


@contextmanager
def mail_server(
    *, port: int | None = None, starttls: ssl.SSLContext | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[tuple[int, Mailbox]]:
    """A mail server; with `starttls` it asks for encryption and a login. Gives its port and what it takes."""
    mailbox = Mailbox()
    controller = Controller(
        mailbox,
        hostname="127.0.0.1",
        port=port or free_port(),
        ssl_context=tls,
        tls_context=starttls,
        require_starttls=starttls is not None,
        auth_required=starttls is not None,
        authenticator=mailbox.authenticate if starttls is not None else None,
    )
    controller.start()
    try:
        yield controller.port, mailbox
    finally:
        controller.stop()


@dataclass
class Posts:
    """What a web server got, and what it answers."""

    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)  # status of each post, 200 when used up


@contextmanager
def web_server(*, port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[tuple[int, Posts]]:
    """A web server. Gives its port and what was posted to it."""
    posts = Posts()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posts.paths.append(self.path)
            posts.headers.append(dict(self.headers.items()))
            posts.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            status = posts.answers.pop(0) if posts.answers else 200
            self.send_response(status)
            if 300 <= status <= 399:
                self.send_header("Location", f"http://127.0.0.1:{server.server_port}/elsewhere")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    with _serving(server.serve_forever):
        try:
            yield server.server_port, posts
        finally:
            server.shutdown()
            server.server_close()


@contextmanager
def stalling_server(dribble: bytes = b"") -> Iterator[int]:
    """A server that accepts and never answers; or sends one of these bytes now and then, for ever. Gives its port."""
    server = socket.create_server(("127.0.0.1", 0))
    is_over = threading.Event()
    taken: list[socket.socket] = []

    def serve() -> None:
        try:
            connection, _ = server.accept()
            taken.append(connection)
            while not is_over.wait(0.05):
                connection.sendall(dribble)
        except OSError:
            pass

    with _serving(serve):
        try:
            yield server.getsockname()[1]
        finally:
            is_over.set()
            try:
                server.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            server.close()
            for connection in taken:
                connection.close()


@contextmanager
def _serving(serve: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()
