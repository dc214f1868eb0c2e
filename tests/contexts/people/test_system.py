"""The system's page: what runs, the disk, webhooks."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from django.test import Client

from mingbai.contexts.audit import queries as entries
from mingbai.contexts.people.models import Webhook

pytestmark = pytest.mark.django_db
Clients = Callable[..., Client]


def test_what_does_not_run_stands_first(client_for: Clients, data_dir: Path) -> None:
    run = data_dir / "run"
    run.mkdir(exist_ok=True)
    (run / "parts.json").write_text(json.dumps({"web": os.getpid(), "worker": 2**22 - 1}))
    page = client_for("administrator").get("/system/").content.decode()
    assert "Jobs does not run" in page
    assert "The screener does not answer" in page
    assert "Pages and API does not run" not in page
    (run / "parts.json").unlink()


def test_a_disk_that_fills_up_is_an_alarm(client_for: Clients, data_dir: Path) -> None:
    run = data_dir / "run"
    run.mkdir(exist_ok=True)
    forecast = {"ledger_bytes": 1, "index_bytes": 1, "free_bytes": 10, "growth_per_day": 1, "days_left": 3.2}
    (run / "disk.json").write_text(json.dumps(forecast))
    page = client_for("administrator").get("/system/").content.decode()
    assert "The disk is filling up" in page
    (run / "disk.json").unlink()


def test_a_webhook_is_made_its_secret_shown_once_switched_and_deleted(client_for: Clients, data_dir: Path) -> None:
    client = client_for("administrator")
    sent = {"name": "siem", "url": "https://siem.example/hook?key=k3yvalue", "kinds": "rulebook. disk."}
    page = client.post("/system/webhooks/", sent, follow=True).content.decode()
    assert "whsec_" in page
    again = client.get("/system/").content.decode()
    assert "whsec_" not in again
    assert "siem.example" in again
    assert "k3yvalue" not in again
    hook = Webhook.objects.get()
    assert hook.kinds == ["rulebook.", "disk."]
    client.post(f"/system/webhooks/{hook.pk}/switch/")
    assert not Webhook.objects.get().is_active
    client.post(f"/system/webhooks/{hook.pk}/delete/")
    assert not Webhook.objects.exists()
    kinds = [entry.kind for entry in entries.entries(kinds=["webhook."])]
    assert kinds == ["webhook.deleted", "webhook.changed", "webhook.created"]


def test_a_bad_address_is_refused_with_the_reason(client_for: Clients, data_dir: Path) -> None:
    sent = {"name": "bad", "url": "ftp://x", "kinds": "rulebook."}
    page = client_for("administrator").post("/system/webhooks/", sent, follow=True).content.decode()
    assert "https:// address" in page
    assert not Webhook.objects.exists()
