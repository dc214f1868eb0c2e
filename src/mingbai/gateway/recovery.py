"""After a start: what the journal has goes on from where it stood.

What was sent and not answered is in doubt, and nothing else; after a power cut also what the last marks may have named
that the disk does not know of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mingbai.gateway.items import Item, Originated, Owed, Stage
from mingbai.gateway.store import Recovered
from mingbai.gateway.upstream import report_of

if TYPE_CHECKING:
    from mingbai.gateway.exchange import Exchange


def take_up(exchange: Exchange, recovered: Recovered) -> None:
    """Everything that is not finished goes on from where it stood."""
    for item in recovered.in_doubt:
        exchange.dispatch.in_doubt(item)
    await_again(exchange, None)
    for _, number, smsc, _, values, _ in recovered.strays:
        if (found := exchange.upstreams.get(smsc)) is not None:
            found.reported(report_of(values), stray=number)
            found.park_again(report_of(values), number)
        else:
            exchange.store.end(number)
    queued = [one for one in exchange.store.items.values() if one.stage is Stage.QUEUED]
    if recovered.is_new_boot:
        queued = _doubt_after_power_cut(exchange, queued)
    for item in queued:
        exchange.dispatch.queue(item)
    for item in [one for one in exchange.store.items.values() if one.stage is Stage.PENDING]:
        _pend_again(exchange, item)
    told: list[Owed | Originated] = [*exchange.store.owed.values(), *exchange.store.originated.values()]
    for one in told:
        exchange.dispatch.tell(one)


def await_again(exchange: Exchange, name: str | None) -> None:
    """Let the reports of an SMSC (None: of all) find the messages that the journal has."""
    for awaited in exchange.store.all_awaited():
        if name is not None and awaited.smsc != name:
            continue
        upstream = exchange.upstreams.get(awaited.smsc)
        if upstream is None:
            exchange.orphans[awaited.id] = awaited.expires
        elif awaited.upstream_id:
            exchange.orphans.pop(awaited.id, None)
            upstream.matcher.add(awaited.upstream_id, awaited.id, exchange.seconds())


def _doubt_after_power_cut(exchange: Exchange, queued: list[Item]) -> list[Item]:
    """The last marks before the power went may be lost: as many as the windows held may have gone."""
    most = sum(one.smsc.window * one.smsc.connections for one in exchange.upstreams.values())
    queued.sort(key=lambda item: item.id)
    for item in queued[:most]:
        item.reason = "power_cut"
        exchange.dispatch.in_doubt(item)
    return queued[most:]


def _pend_again(exchange: Exchange, item: Item) -> None:
    partner = exchange.partners.get(item.account)
    if partner is None:
        exchange.dispatch.dead(item, "account_gone")
        return
    part = item.message.part()
    if part.mark is None:
        exchange.dispatch.dead(item, "part_unreadable")
        return
    for joined in partner.joiner.add(
        item.account, item.message.source, item.destination, part, item, exchange.seconds()
    ):
        exchange.intake.joined(partner, joined)
