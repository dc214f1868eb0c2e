"""What is done for the SMS gateway without anybody asking: its registry says what the rows say, orders reach it."""

from __future__ import annotations

from datetime import datetime

from mingbai.contexts.messaging.services import gateway, gateway_orders
from mingbai.settings import Settings


def keep_registry_in_force(settings: Settings, now: datetime) -> None:
    """Mends what a crash between a change and its publication leaves behind."""
    gateway.publish_present()


def carry_orders(settings: Settings, now: datetime) -> None:
    gateway_orders.carry_orders(now=now)
    gateway_orders.carry_decisions(now=now)


JOBS = (
    ("keep the gateway's registry in force", 2.0, keep_registry_in_force, False),
    ("carry orders to the gateway", 0.5, carry_orders, False),
)
