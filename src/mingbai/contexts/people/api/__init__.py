"""People, by the API; each module is one area."""

from __future__ import annotations

from importlib import import_module

from ninja import Router

router = Router()
for area in ("accounts", "groups", "tokens", "webhooks", "data_requests", "audit"):
    router.add_router("", import_module(f"{__name__}.{area}").router)
