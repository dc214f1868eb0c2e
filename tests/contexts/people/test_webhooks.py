"""Webhooks against a real HTTP server: signed, in order, tried again, given up, never lost."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mingbai.connectors.http_post import NotDelivered, check_url, post
from mingbai.contexts.audit import queries as entries
from mingbai.contexts.audit import services as audit
from mingbai.contexts.people.models import Delivery, Webhook
from mingbai.contexts.people.services import webhooks
from mingbai.kernel.errors import BadValue
from mingbai.ledger import KeyStore

NOW = datetime(2026, 11, 25, 8, tzinfo=UTC)


@dataclass
class Receiver:
    """A real server. answers: statuses to give, the last one for ever."""

    url: str = ""
    answers: list[int] = field(default_factory=lambda: [200])
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            status = found.answers.pop(0) if len(found.answers) > 1 else found.answers[0]
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found.url = f"http://127.0.0.1:{server.server_port}/hook"
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture
def keys(tmp_path: Path) -> KeyStore:
    return KeyStore.open_or_create(tmp_path / "keys.json")


@pytest.fixture
def hook(db: None, receiver: Receiver, keys: KeyStore) -> Callable[..., tuple[Webhook, str]]:
    def make(*kinds: str) -> tuple[Webhook, str]:
        return webhooks.create_webhook(
            "test", receiver.url, kinds or ("rulebook.",), actor="system", now=NOW, keys=keys
        )

    return make


def test_an_event_arrives_signed_as_standard_webhooks_say(
    hook: Callable[..., tuple[Webhook, str]], receiver: Receiver, keys: KeyStore
) -> None:
    _, secret = hook("rulebook.", "message.freed")
    audit.append("rulebook.approved", actor="account:1", subject="rulebook:7", data={"number": 7}, now=NOW)
    audit.append("account.created", actor="account:1", now=NOW)
    audit.append("message.freed", actor="account:1", now=NOW)
    assert webhooks.queue_deliveries(now=NOW) == 2
    assert webhooks.queue_deliveries(now=NOW) == 0
    assert webhooks.send_due(keys, now=NOW) == (2, 0)
    assert [json.loads(body)["type"] for _, body in receiver.got] == ["rulebook.approved", "message.freed"]
    headers, body = receiver.got[0]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert headers["webhook-id"] == json.loads(body)["id"]
    assert abs(int(headers["webhook-timestamp"]) - NOW.timestamp()) < 1
    assert webhooks.send_due(keys, now=NOW) == (0, 0)


def test_what_is_not_taken_comes_again_later_each_time_with_the_same_id(
    hook: Callable[..., tuple[Webhook, str]], receiver: Receiver, keys: KeyStore
) -> None:
    hook()
    audit.append("rulebook.approved", actor="system", now=NOW)
    webhooks.queue_deliveries(now=NOW)
    receiver.answers = [500, 302, 200]
    assert webhooks.send_due(keys, now=NOW) == (0, 1)
    assert webhooks.send_due(keys, now=NOW) == (0, 0)  # not yet
    assert webhooks.send_due(keys, now=NOW + timedelta(seconds=5)) == (0, 1)  # a redirect is not followed
    assert Delivery.objects.get().last_status == "answered 302"
    assert webhooks.send_due(keys, now=NOW + timedelta(seconds=70)) == (1, 0)
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1


def test_after_the_last_try_it_is_given_up_recorded_and_can_be_sent_again(
    hook: Callable[..., tuple[Webhook, str]], receiver: Receiver, keys: KeyStore
) -> None:
    hook()
    audit.append("rulebook.approved", actor="system", now=NOW)
    webhooks.queue_deliveries(now=NOW)
    receiver.answers = [503]
    now, tries = NOW, 0
    while Delivery.objects.get().state == "due":
        now = max(now, Delivery.objects.get().next_at)
        webhooks.send_due(keys, now=now)
        tries += 1
    assert tries == len(webhooks.PAUSES_S) + 1
    assert now - NOW > timedelta(days=2)
    (gave_up,) = entries.entries(kinds=["webhook.gave_up"])
    assert gave_up.data["cause"] == "answered 503"
    receiver.answers = [204]
    webhooks.send_again(Delivery.objects.get(), actor="system", now=now)
    assert webhooks.send_due(keys, now=now) == (1, 0)


def test_gone_means_do_not_come_again(
    hook: Callable[..., tuple[Webhook, str]], receiver: Receiver, keys: KeyStore
) -> None:
    hook()
    audit.append("rulebook.approved", actor="system", now=NOW)
    webhooks.queue_deliveries(now=NOW)
    receiver.answers = [410]
    webhooks.send_due(keys, now=NOW)
    assert Delivery.objects.get().state == "failed"


def test_switched_off_nothing_is_sent_and_switched_on_it_goes_on_from_now(
    hook: Callable[..., tuple[Webhook, str]], receiver: Receiver, keys: KeyStore
) -> None:
    made, _ = hook()
    webhooks.change_webhook(made, actor="system", now=NOW, is_active=False)
    audit.append("rulebook.approved", actor="system", now=NOW)
    assert webhooks.queue_deliveries(now=NOW) == 0
    made = webhooks.change_webhook(made, actor="system", now=NOW, is_active=True)
    audit.append("rulebook.rolled_back", actor="system", now=NOW)
    assert webhooks.queue_deliveries(now=NOW) == 1


def test_a_server_that_stalls_is_left_after_the_time_limit() -> None:
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(NotDelivered, match="no answer within"):
            post(f"http://127.0.0.1:{silent.getsockname()[1]}/", b"{}", {}, timeout_s=0.3)


def test_nobody_there_is_said_without_the_address() -> None:
    with pytest.raises(NotDelivered) as caught:
        post("http://127.0.0.1:9/secret-path", b"{}", {}, timeout_s=2)
    assert "secret-path" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com/",
        "https://user:word@example.com/",
        "https:///x",
        "https://example.com/#part",
        "https://exa mple.com/",
        "javascript:alert(1)",
        "https://example.com:99999/",
        "http://169.254.169.254/latest/",
        "",
    ],
)
def test_addresses_that_we_do_not_post_to_are_refused(url: str) -> None:
    with pytest.raises(BadValue):
        check_url(url)


def test_the_secret_is_not_readable_in_the_database(
    hook: Callable[..., tuple[Webhook, str]], keys: KeyStore, tmp_path: Path
) -> None:
    made, secret = hook()
    assert secret.removeprefix("whsec_").encode() not in bytes(made.secret)
    assert webhooks.open_secret(keys, made) == secret
    with pytest.raises(BadValue):
        webhooks.open_secret(KeyStore.open_or_create(tmp_path / "other.json"), made)
