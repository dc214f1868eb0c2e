from __future__ import annotations

from django.apps import AppConfig


class PeopleConfig(AppConfig):
    name = "mingbai.contexts.people"
    label = "people"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from mingbai.contexts.people import signals  # noqa: F401 - connects them
