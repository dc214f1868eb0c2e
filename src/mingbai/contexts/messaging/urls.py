"""Addresses of messaging."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from django.urls import URLPattern, URLResolver

urlpatterns: list[URLPattern | URLResolver] = []
for area in ("overview", "messages", "campaigns", "review", "rulebook", "model", "gateway"):
    if find_spec(f"mingbai.contexts.messaging.views.{area}"):
        urlpatterns += import_module(f"mingbai.contexts.messaging.views.{area}").urlpatterns
