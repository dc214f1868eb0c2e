from __future__ import annotations

from django.apps import AppConfig


class MessagingConfig(AppConfig):
    name = "mingbai.contexts.messaging"
    label = "messaging"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from mingbai.contexts.messaging.services import appeals
        from mingbai.contexts.people.services.data_requests import Holder, register

        register(Holder("appeals", appeals.held, appeals.erase))
