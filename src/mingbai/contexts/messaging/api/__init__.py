"""Messaging, by the API; each module is one area."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from ninja import Router

router = Router()
for area in ("screening", "overview", "traffic", "review", "rulebook", "model", "gateway"):
    if find_spec(f"{__name__}.{area}"):
        router.add_router("", import_module(f"{__name__}.{area}").router)
