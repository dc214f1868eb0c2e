"""Where everything meets: requests become rows, rows decisions, decisions queues, answers reports.

One wake-up of the loop: connections hand in what came; `_settle` then screens the new rows, marks what goes upstream,
writes the journal once, and only then lets anything leave. New messages are written by the pipeline's thread, after the
ledger and before their answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from mingbai.connectors.gateway_registry import Account, InDoubt, Mode, Registry
from mingbai.connectors.screening_client import ScreenerBusy
from mingbai.engines.screening.schema import MESSAGE
from mingbai.gateway.cdr import Cdr, CdrWriter
from mingbai.gateway.connection import Connection
from mingbai.gateway.disposition import Action, action_of
from mingbai.gateway.identities import Identities
from mingbai.gateway.intake import Ask, Intake, Row, answer_of, is_network
from mingbai.gateway.items import Awaited, Item, Originated, Outcome, Owed, Stage
from mingbai.gateway.journal import Journal, JournalCannotWrite
from mingbai.gateway.limits import Shared
from mingbai.gateway.meter import Alarms, Meter
from mingbai.gateway.partner import Partner
from mingbai.gateway.pipeline import Answer, Pipeline, Submission
from mingbai.gateway.prefixing import warned
from mingbai.gateway.routing import AccessCodes, Portability, Routes
from mingbai.gateway.store import Durable, Recovered, Store
from mingbai.gateway.upstream import Upstream, report_of
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import BadValue, MingbaiError
from mingbai.kernel.verdicts import Reason
from mingbai.ledger import KeyStore, Ledger, LedgerError
from mingbai.protocols.messages import ShortMessage, Wanted
from mingbai.protocols.pdu import Pdu
from mingbai.protocols.receipts import State
from mingbai.protocols.reports import Refusal, Report

log = logging.getLogger(__name__)

_MOST_QUEUED: Final = 200_000  # unfinished messages with their text; who comes then is told to try later
_REPORT_S: Final = 72 * 3600.0  # how long a report waits for its message's end, and for its account
_AGAIN_S: Final = 0.5


class Exchange:
    """One worker's traffic. All methods on the loop's thread, unless said."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        keys: KeyStore,
        journal: Journal,
        store: Store,
        shared: Shared,
        alarms: Alarms,
        identities: Identities,
        cdrs: CdrWriter,
        make_pipeline: Callable[[Callable[[Sequence[tuple[Submission, Answer]]], None]], Pipeline],
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.keys = keys
        self.shared = shared
        self.alarms = alarms
        self.store = store
        self.registry = Registry()
        self.routes = Routes(self.registry)
        self.codes = AccessCodes(())
        self.partners: dict[str, Partner] = {}
        self.upstreams: dict[str, Upstream] = {}
        self.meter = Meter(time.monotonic())
        self.totals: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.is_draining = False
        self.is_registry_known = True  # False: at a start without one that can be read; what is queued waits for it
        self._is_started = False
        self._orphans: dict[int, float] = {}  # awaited messages whose SMSC is in the registry no more, and their end
        self.sgip_sequences = identities.sgip
        self.deliver_id = identities.deliver_id
        self.peer_id = identities.peer_id
        self.on_ended: Callable[[Cdr], None] = cdrs.write
        self.call_back: Callable[[Partner], None] = lambda partner: None
        self.on_stray: Callable[[int, str, Any], None] = lambda number, smsc, values: None  # Any: `upstream.report_of`
        self._handed_over: set[int] = set()
        self._identities = identities
        self._ledger = ledger
        self._journal = journal
        self._clock = clock
        self._intake = Intake(self)
        self._pipeline = make_pipeline(self._recorded)
        self._durable = Durable(journal, self._sync_failed)
        self._rows: list[Row] = []
        self._dirty: dict[Upstream | Partner, None] = {}
        self._acks: list[tuple[Connection, Pdu]] = []
        self._waiting: list[Callable[[], object]] = []
        self._answered, self._latency_s = 0, 0.0
        self._pendings: list[Ask] = []
        self._is_woken = False
        self._portability: tuple[tuple[str, float] | None, Portability] = (None, Portability())
        self.submits = self._intake.submits
        self.message = self._intake.message

    # -- time

    def now(self) -> datetime:
        return self._clock()

    def seconds(self) -> float:
        """Since 1970: what items and records say."""
        return self._clock().timestamp()

    def loop_time(self) -> float:
        return self.loop.time()

    # -- life

    def start(self, recovered: Recovered) -> None:
        """Take up what the journal has. The registry is in force already."""
        self._pipeline.start()
        self._is_started = True
        for item in recovered.in_doubt:
            self.in_doubt(item)
        self._await_again(None)
        for _, number, smsc, _, values, _ in recovered.strays:
            if (found := self.upstreams.get(smsc)) is not None:
                found.reported(report_of(values), stray=number)
                found.park_again(report_of(values), number)
            else:
                self.store.end(number)
        queued = [one for one in self.store.items.values() if one.stage is Stage.QUEUED]
        if recovered.is_new_boot:
            queued = self._doubt_after_power_cut(queued)
        for item in queued:
            self.queue(item)
        for item in [one for one in self.store.items.values() if one.stage is Stage.PENDING]:
            self._pend_again(item)
        told: list[Owed | Originated] = [*self.store.owed.values(), *self.store.originated.values()]
        for one in told:
            self._tell(one)
        self.wake()

    def _await_again(self, name: str | None) -> None:
        """Let the reports of an SMSC (None: of all) find the messages that the journal has."""
        for awaited in self.store.all_awaited():
            if name is not None and awaited.smsc != name:
                continue
            upstream = self.upstreams.get(awaited.smsc)
            if upstream is None:
                self._orphans[awaited.id] = awaited.expires
            elif awaited.upstream_id:
                self._orphans.pop(awaited.id, None)
                upstream.matcher.add(awaited.upstream_id, awaited.id, self.seconds())

    def _doubt_after_power_cut(self, queued: list[Item]) -> list[Item]:
        """The last marks before the power went may be lost: as many as the windows held may have gone."""
        most = sum(one.smsc.window * one.smsc.connections for one in self.upstreams.values())
        queued.sort(key=lambda item: item.id)
        for item in queued[:most]:
            item.reason = "power_cut"
            self.in_doubt(item)
        return queued[most:]

    def _pend_again(self, item: Item) -> None:
        partner = self.partners.get(item.account)
        if partner is None:
            self.dead(item, "account_gone")
            return
        part = item.message.part()
        if part.mark is None:
            self.dead(item, "part_unreadable")
            return
        for joined in partner.joiner.add(
            item.account, item.message.source, item.destination, part, item, self.seconds()
        ):
            self._intake.joined(partner, joined)

    async def stop(self) -> None:
        """Decide what came, answer it, hear the SMSCs' answers, leave. The rest stays on the disk."""
        self.is_draining = True
        await asyncio.gather(*(one.stop() for one in self.upstreams.values()))
        for partner in self.partners.values():
            for connection in list(partner.connections):
                connection.leave()
        until = self.loop.time() + 12.0
        parties: list[Partner | Upstream] = [*self.partners.values(), *self.upstreams.values()]
        while self.loop.time() < until and any(one.connections for one in parties):
            await asyncio.sleep(0.02)
        await asyncio.to_thread(self._pipeline.stop)
        await asyncio.sleep(0)
        self._settle()
        await asyncio.to_thread(self._durable.stop)
        self._identities.note(self.store)
        with contextlib.suppress(JournalCannotWrite):
            self.store.flush()
            self._journal.close()

    def apply(self, registry: Registry) -> None:
        """Put another registry in force. Sessions stay, unless their account went away or an SMSC's place changed."""
        self.registry = registry
        self.routes = Routes(registry, self._ported(registry))
        self.codes = AccessCodes(registry.accounts)
        for account in registry.accounts:
            if account.name in self.partners:
                self.partners[account.name].update(account)
            else:
                partner = self.partners[account.name] = Partner(account, self)
                if self._is_started:
                    told: list[Owed | Originated] = [*self.store.owed.values(), *self.store.originated.values()]
                    for one in told:
                        if one.account == account.name:
                            partner.tell(one)
        for name, partner in list(self.partners.items()):
            known = registry.account_of.get(name)
            if known is None or not known.active:
                for connection in list(partner.connections):
                    connection.leave()
                if known is None and not partner.connections and not partner.outbox:
                    del self.partners[name]
        self._apply_smscs(registry)
        for item in [one for one in self.store.items.values() if one.stage is Stage.QUEUED and not one.smsc]:
            self.queue(item)
        self.wake()

    def _apply_smscs(self, registry: Registry) -> None:
        for smsc in registry.smscs:
            upstream = self.upstreams.get(smsc.name)
            if upstream is None:
                upstream = self.upstreams[smsc.name] = Upstream(smsc, self)
                if self._is_started:
                    self._await_again(smsc.name)
                if smsc.active:
                    upstream.start()
            elif not upstream.update(smsc):
                self.loop.create_task(self._restart(upstream))
        for name, upstream in list(self.upstreams.items()):
            if name not in registry.smsc_of:
                self.loop.create_task(upstream.stop())
                waiting, upstream.queue = list(upstream.queue), type(upstream.queue)()
                if not self.store.awaiting:
                    del self.upstreams[name]
                for item in waiting:
                    self.queue(item)

    async def _restart(self, upstream: Upstream) -> None:
        await upstream.stop()
        if upstream.smsc.active and not self.is_draining:
            upstream.start()

    def _ported(self, registry: Registry) -> Portability:
        from mingbai.gateway.routing import read_portability

        if not registry.portability:
            return Portability()
        path = Path(registry.portability)
        try:
            mark = (str(path), path.stat().st_mtime)
            if self._portability[0] != mark:
                self._portability = (mark, Portability(read_portability(path)))
            self.alarms.clear("portability_unreadable")
        except (OSError, BadValue) as error:  # the list before it stays in force
            self.alarms.raise_("portability_unreadable", str(error), self.now())
        return self._portability[1]

    # -- rows

    @property
    def is_full(self) -> bool:
        return self.is_draining or len(self.store.items) >= _MOST_QUEUED

    def check_access_code(self, account: Account, message: ShortMessage) -> Refusal | None:
        """The place of the port's own rules: sub-codes, signatures, filing. Yet there is the account's list alone."""
        return None

    def screen(self, row: Row) -> None:
        self._rows.append(row)
        self.wake()

    def pending(self, ask: Ask) -> None:
        """A part: answered once its record is on the disk."""
        self._pendings.append(ask)
        self.wake()

    def _screen(self) -> None:
        rows, self._rows = self._rows, []
        for is_bypassed in (False, True):
            chosen = [row for row in rows if (row.mode is Mode.BYPASS) is is_bypassed]
            if chosen:
                self._submit(chosen, is_bypassed)

    def _submit(self, rows: list[Row], is_bypassed: bool) -> None:
        at = self._clock()
        batch = pa.RecordBatch.from_arrays(
            [
                pa.array([row.text for row in rows], pa.string()),
                pa.array([row.source for row in rows], pa.string()),
                pa.array([row.items[0].destination for row in rows], pa.string()),
                pa.array([None if is_network(row.partner) else row.source for row in rows], pa.string()),
                pa.array([at] * len(rows), MESSAGE.field("time").type),
            ],
            schema=MESSAGE,
        )

        def reply(answer: Answer | MingbaiError) -> None:
            self.loop.call_soon_threadsafe(self._decided, rows, answer)

        try:
            unreadable = tuple(place for place, row in enumerate(rows) if not row.is_readable)
            self._pipeline.submit(Submission(batch, reply, time.monotonic(), is_bypassed, unreadable, rows))
        except ScreenerBusy as error:
            self._decided(rows, error)

    def _recorded(self, answers: Sequence[tuple[Submission, Answer]]) -> None:
        """In the pipeline's thread, after the ledger: decisions become records, on the disk before any answer."""
        records: list[Any] = []  # Any: of the journal
        fresh: list[Row] = []
        now = self.seconds()
        for submission, answer in answers:
            verdicts = answer.batch.column("verdict").to_pylist()
            reasons = answer.batch.column("reasons").to_pylist() if answer.unscreened else None
            for place, (row, verdict) in enumerate(zip(submission.token, verdicts, strict=True)):
                failed = reasons is not None and int(Reason.UNSCREENED) in reasons[place]
                row.verdict, row.entry = verdict, answer.first_seq + place
                row.action = action_of(verdict, row.partner.account, row.traffic, row.mode, is_unscreened=failed)
                if row.ask is not None:
                    fresh.append(row)
                    self._record(row, records, now)
        if records:
            segment = self._journal.write(records)
            self._journal.sync()
            for row in fresh:
                row.segment = segment

    def _record(self, row: Row, records: list[Any], now: float) -> None:  # Any: as above
        for item in row.items:
            item.entry, item.verdict = row.entry, row.verdict
            if row.action is Action.HOLD:
                item.stage, item.due = Stage.HELD, now + 60.0 * row.traffic.hold_minutes
            elif row.action is Action.SWALLOW:
                if item.message.wanted is not Wanted.NONE:
                    row.owed.append(owed_for(item, State.REJECTED, now))
                    records.append(row.owed[-1].record())
                continue
            elif row.action not in (Action.FORWARD, Action.WARN):
                continue
            records.append(item.record())

    def _decided(self, rows: list[Row], answer: Answer | MingbaiError) -> None:
        """Back on the loop: answer, and pass on."""
        if isinstance(answer, MingbaiError):
            self._undecided(rows, answer)
        else:
            self.alarms.clear(JournalCannotWrite.code)
            for row in rows:
                if row.ask is None:
                    self._decided_parts(row)
                else:
                    self._decided_message(row, row.ask)
        self._settle()

    def _undecided(self, rows: list[Row], error: MingbaiError) -> None:
        """Nothing was recorded: the senders are told to try later, and parts wait for the next try."""
        self.alarms.raise_(error.code, str(error), self.now())
        again = []
        for row in rows:
            if row.ask is None:
                again.append(row)
            else:
                self._done(row.ask, None, Refusal.TRY_LATER)
        if again:
            self.loop.call_later(_AGAIN_S, self._screen_again, again)

    def _screen_again(self, rows: list[Row]) -> None:
        for row in rows:
            self.screen(row)

    def _decided_message(self, row: Row, ask: Ask) -> None:
        action = row.action
        if action in (Action.REFUSE, Action.TRY_LATER):
            if action is Action.REFUSE:
                for item in row.items:
                    self.ended(cdr_of(item, Outcome.REFUSED, "screen"))
            self._done(ask, row, Refusal.BLOCKED if action is Action.REFUSE else Refusal.TRY_LATER)
            return
        if action is Action.SWALLOW:
            for owed in row.owed:
                owed.segment = row.segment
                self.store.owed[owed.id] = owed
                self.store.count(owed)
                self._tell(owed)
            for item in row.items:
                self.ended(cdr_of(item, Outcome.REFUSED, "screen"))
        else:
            for item in row.items:
                self.store.took(item, row.segment)
            if action is Action.WARN:
                self._warn(row.items, row)
            elif action is Action.FORWARD:
                for item in row.items:
                    self.queue(item)
        self._done(ask, row, None)

    def _decided_parts(self, row: Row) -> None:
        """The joined text was judged; each part was answered long ago."""
        items = [item for item in row.items if self.store.items.get(item.id) is item]
        for item in items:
            item.entry, item.verdict = row.entry, row.verdict
            if row.action in (Action.SWALLOW, Action.REFUSE):
                self.reject(item, "screen")
                continue
            held = row.action is Action.HOLD
            item.stage = Stage.HELD if held else Stage.QUEUED
            item.due = self.seconds() + (60.0 * row.traffic.hold_minutes if held else 0.0)
            self.store.moved(item)
        if row.action is Action.WARN:
            self._warn(items, row)
        elif row.action in (Action.FORWARD, Action.TRY_LATER):
            for item in items:
                self.queue(item)

    def _warn(self, items: list[Item], row: Row) -> None:
        """The same message with a warning before it: in as many parts as it takes then."""
        try:
            contents = warned(row.text, row.traffic.warning, items[0].message, items[0].id)
        except BadValue as error:
            log.warning("a warning cannot be put before a message", extra={"error": str(error)})
            contents = []
        for place, message in enumerate(contents):
            if place < len(items):
                items[place].message = message
                self.store.rewritten(items[place])
            else:  # more parts than came: the last one's id stands for them, and only it is reported
                last = items[-1]
                extra = Item(
                    self.store.next_id(), last.account, last.protocol, last.peer_id, message, Stage.QUEUED,
                    last.accepted, last.expires, last.traffic, entry=last.entry, group=last.group or last.id,
                    verdict=last.verdict,
                )  # fmt: skip
                self.store.accept(extra)
                items.append(extra)
        for item in items:
            self.queue(item)

    def _done(self, ask: Ask, row: Row | None, refusal: Refusal | None) -> None:
        """One row of a request is decided; the request is answered when all are."""
        ask.open_rows -= 1
        if refusal is None:
            ask.accepted += 1
        else:
            ask.refusal = refusal
            if row is not None and refusal is Refusal.BLOCKED:
                ask.blocked.append(row.items[0])
        if ask.open_rows <= 0:
            if ask.accepted:  # the answer cannot say that some recipients were refused: their reports do
                for item in ask.blocked:
                    self._report(item, State.REJECTED)
            self.answer(ask, None if ask.accepted else ask.refusal)

    def answer(self, ask: Ask, refusal: Refusal | None) -> None:
        """Answer a request: `refusal` None, its message was taken on."""
        partner = ask.partner
        ask.refusal = refusal
        if refusal is None:
            partner.accepted += 1
            self.totals["accepted"] += 1
            ask.accepted = max(1, ask.accepted)
        else:
            partner.refused += 1
            self.counted(refusal)
        self._answered += 1
        self._latency_s = self.loop.time() - ask.received
        if ask.connection is None:
            ask.pdu.answered(ask.peer_id, refusal)
            return
        ask.connection.link.answer(answer_of(ask, partner.account.blocked_code))
        ask.connection.touched = True
        self._dirty[partner] = None

    def counted(self, why: Refusal) -> None:
        self.totals["refused"] += 1
        self.refusals[why.name.lower()] += 1

    # -- to SMSCs

    def queue(self, item: Item) -> None:
        """Give an item to the first SMSC of its route that can take it; to the first at all where none can."""
        found = self.routes.find(item.account, item.message.source, item.destination)
        if found is None:
            item.stage, item.smsc = Stage.QUEUED, ""
            if self.is_registry_known:
                self.dead(item, "no_route")
            return
        names = [name for name in found[1] if name in self.upstreams]
        left = [name for name in names if name not in item.tried] or names
        if not left:
            self.dead(item, "no_route")
            return
        chosen = next((name for name in left if self.upstreams[name].is_open), left[0])
        upstream = self.upstreams[chosen]
        item.stage, item.smsc = Stage.QUEUED, chosen
        upstream.queue.append(item)
        self._dirty[upstream] = None

    def forwarded(self, item: Item, upstream: Upstream, upstream_id: str) -> None:
        """An SMSC took it."""
        self.totals["forwarded"] += 1
        if item.message.wanted is Wanted.NONE or not upstream_id:
            self.store.end(item.id)
            self.ended(cdr_of(item, Outcome.DELIVERED, "accepted"))
            return
        self.store.awaits(item, upstream_id, item.expires + _REPORT_S)
        upstream.awaits(upstream_id, item.id)

    def refused_upstream(self, item: Item, said: str) -> None:
        """An SMSC will not have it: its sender learns so."""
        self.totals["refused_upstream"] += 1
        self.reject(item, f"smsc {item.smsc}: {said}")

    def throttled(self, item: Item, upstream: Upstream, said: str) -> None:
        """An SMSC wants it later: at the head of the queue again, or to the dead letters after enough tries."""
        item.attempts += 1
        traffic = self.registry.class_of.get(item.traffic)
        if traffic is not None and item.attempts >= traffic.attempts:
            self.dead(item, said)
            return
        upstream.put_back(item)

    def in_doubt(self, item: Item) -> None:
        """Sent, and no answer: the class says what to do."""
        self.totals["in_doubt"] += 1
        traffic = self.registry.class_of.get(item.traffic)
        rule = traffic.in_doubt if traffic is not None else InDoubt.ASK
        if rule is InDoubt.RESEND:
            self._event("gateway.resolved", {"id": str(item.id), "how": "resent", "smsc": item.smsc})
            item.stage, item.reason = Stage.QUEUED, "in_doubt_resent"
            self.store.moved(item)
            self.queue(item)
            return
        self._event(
            "gateway.in_doubt",
            {"id": str(item.id), "account": item.account, "smsc": item.smsc, "entry": item.entry, "rule": rule.value},
        )
        if rule is InDoubt.DROP:
            self.store.end(item.id)
            self.ended(cdr_of(item, Outcome.IN_DOUBT, "not sent again"))
            return
        item.stage, item.reason = Stage.DOUBT, item.reason or "no_answer"
        self.store.moved(item)

    def dead(self, item: Item, reason: str) -> None:
        """Nobody takes it: it lies where a person sees it."""
        self.totals["dead"] += 1
        item.stage, item.reason = Stage.DEAD, reason[:120]
        self.store.moved(item)
        self._event(
            "gateway.dead_lettered",
            {"id": str(item.id), "account": item.account, "smsc": item.smsc or None, "reason": item.reason,
             "entry": item.entry},
        )  # fmt: skip

    def unwritable(self, item: Item, why: str) -> None:
        """The SMSC's protocol cannot carry it."""
        self.dead(item, f"unwritable: {why}")

    def expired(self, item: Item) -> None:
        self.totals["expired"] += 1
        self._report(item, State.EXPIRED)
        self.ended(cdr_of(item, Outcome.EXPIRED, item.stage.name.lower()))

    def reject(self, item: Item, by: str) -> None:
        """It ends here: refused by the screen, a person or an SMSC."""
        self._report(item, State.REJECTED)
        self.ended(cdr_of(item, Outcome.REFUSED, by))

    # -- reports

    def reported(self, handle: int, report: Report) -> None:
        """What became of a message: its account is told, and it ends."""
        awaited = self.store.awaited(handle)
        if awaited is None or not report.state.is_final:
            return
        outcome = _OUTCOMES.get(report.state, Outcome.REFUSED)
        self.totals["delivered" if outcome is Outcome.DELIVERED else "undelivered"] += 1
        if awaited.wanted == Wanted.NONE or (awaited.wanted == Wanted.FAILURE and report.state is State.DELIVERED):
            self.store.end(handle)
        else:
            done = report.done.timestamp() if report.done is not None else self.seconds()
            owed = Owed(
                awaited.id, awaited.account, awaited.protocol, awaited.peer_id, awaited.source, awaited.destination,
                awaited.accepted, report.state, report.stat, report.error, done, self.seconds() + _REPORT_S,
            )  # fmt: skip
            self.store.owes(owed)
            self._tell(owed)
        self.ended(cdr_of(awaited, outcome, report.stat or report.state.name.lower()))

    def never_reported(self, handle: int) -> None:
        awaited = self.store.awaited(handle)
        if awaited is not None:
            self.store.end(handle)
            self.totals["unreported"] += 1
            self.ended(cdr_of(awaited, Outcome.IN_DOUBT, "no report came"))

    def unmatched(self, number: int) -> None:
        """A report whose message nobody knows; it may be another worker's, who took it."""
        if number in self._handed_over:
            self._handed_over.discard(number)
            return
        self.totals["reports_unmatched"] += 1
        self.store.end(number)

    def handed_over(self, number: int) -> None:
        """Another worker knew the message of a report that is parked here."""
        self._handed_over.add(number)
        self.store.end(number)
        self.wake()

    def take_over(self, one: Owed | Originated) -> None:
        """From another worker: its account is connected here."""
        if one.id in self.store.owed or one.id in self.store.originated:
            return
        if isinstance(one, Owed):
            self.store.owes(one)
        else:
            self.store.originate(one)
        self._tell(one)

    def when_durable(self, done: Callable[[], object]) -> None:
        """Call `done` once everything noted so far is on the disk."""
        self._waiting.append(done)
        self.wake()

    def _report(self, item: Item, state: State) -> None:
        """End an item, and let its account know."""
        if item.message.wanted is Wanted.NONE:
            self.store.end(item.id)
            return
        owed = owed_for(item, state, self.seconds())
        self.store.owes(owed)
        self._tell(owed)

    def originated(self, message: ShortMessage, protocol: str) -> bool:
        """A subscriber wrote to an access code: its owner gets it. False: nobody has that code."""
        name = self.codes.owner(message.destinations[0])
        if name is None:
            self.totals["originated_unrouted"] += 1
            return False
        one = Originated(self.store.next_id(), name, protocol, message, self.seconds(), self.seconds() + _REPORT_S)
        self.store.originate(one)
        self._tell(one)
        self.totals["originated"] += 1
        return True

    def _tell(self, one: Owed | Originated) -> None:
        partner = self.partners.get(one.account)
        if partner is not None:
            partner.tell(one)

    def told(self, one: Owed | Originated) -> None:
        self.store.end(one.id)

    def undeliverable(self, one: Owed | Originated) -> None:
        """Its account refuses it again and again, or has no way to hear it."""
        self.totals["untold"] += 1
        self.store.end(one.id)

    def acknowledge(self, connection: Connection, answer: Pdu) -> None:
        """Answer when everything that was noted so far is on the disk."""
        self._acks.append((connection, answer))

    # -- what people order

    def release(self, entry: int) -> int:
        """A held message may go."""
        found = [one for one in self.store.items.values() if one.entry == entry and one.stage is Stage.HELD]
        for item in found:
            item.stage, item.reason = Stage.QUEUED, "released"
            self.store.moved(item)
            self.queue(item)
        self.wake()
        return len(found)

    def refuse_held(self, entry: int) -> int:
        found = [one for one in self.store.items.values() if one.entry == entry and one.stage is Stage.HELD]
        for item in found:
            self.reject(item, "review")
        self.wake()
        return len(found)

    def resend(self, numbers: Sequence[int]) -> int:
        """Dead letters and messages in doubt: once more."""
        done = 0
        for number in numbers:
            item = self.store.items.get(number)
            if item is not None and item.stage in (Stage.DEAD, Stage.DOUBT):
                if item.stage is Stage.DOUBT:
                    self._event("gateway.resolved", {"id": str(item.id), "how": "resent by a person"})
                item.stage, item.attempts, item.tried, item.reason = Stage.QUEUED, 0, (), "resent"
                item.expires = max(item.expires, self.seconds() + 3600.0)
                self.store.moved(item)
                self.queue(item)
                done += 1
        self.wake()
        return done

    def drop(self, numbers: Sequence[int]) -> int:
        done = 0
        for number in numbers:
            item = self.store.items.get(number)
            if item is None:
                continue
            if item.stage is Stage.DEAD:
                self._report(item, State.UNDELIVERABLE)
                self.ended(cdr_of(item, Outcome.DEAD_LETTER, item.reason))
                done += 1
            elif item.stage is Stage.DOUBT:
                self._event("gateway.resolved", {"id": str(item.id), "how": "not sent again"})
                self.store.end(item.id)
                self.ended(cdr_of(item, Outcome.IN_DOUBT, "not sent again"))
                done += 1
        self.wake()
        return done

    def bounce(self, kind: str, name: str) -> int:
        if kind == "smsc":
            upstream = self.upstreams.get(name)
            return 0 if upstream is None else upstream.bounce()
        partner = self.partners.get(name)
        bound = [] if partner is None else list(partner.connections)
        for connection in bound:
            connection.leave()
        return len(bound)

    # -- by the clock

    def tick(self) -> None:
        """Every second: what is due."""
        now, at = self.seconds(), self.loop.time()
        for partner in self.partners.values():
            partner.rate.sample(partner.accepted + partner.refused, at)
            for connection in partner.connections:
                connection.rate.sample(connection.link.received + connection.link.sent, at)
            for joined in partner.joiner.expire(now):
                self._intake.joined(partner, joined)
            self._dirty[partner] = None
        for upstream in self.upstreams.values():
            upstream.rate.sample(upstream.sent, at)
            for connection in upstream.connections:
                connection.rate.sample(connection.link.received + connection.link.sent, at)
            upstream.expire(now)
            self._dirty[upstream] = None
            if upstream.queue and not upstream.bound and any(one.is_open for one in self.upstreams.values()):
                waiting, upstream.queue = list(upstream.queue), type(upstream.queue)()
                for item in waiting:  # another SMSC of the route may have come up since
                    self.queue(item)
        for item in list(self.store.items.values()):
            if item.stage is Stage.HELD and item.due <= now:
                self._hold_over(item)
            elif item.stage in (Stage.QUEUED, Stage.DEAD) and item.expires <= now:
                self.expired(item)
        told: list[Owed | Originated] = [*self.store.owed.values(), *self.store.originated.values()]
        for one in told:
            if one.expires <= now:
                self.undeliverable(one)
        for number in [number for number, end in self._orphans.items() if end <= now]:
            del self._orphans[number]
            self.never_reported(number)
        if not self._journal.is_synced:  # marks wait for the next acknowledgement to be synced; at most a second
            self._durable.then(lambda: None)
        self.wake()

    def _hold_over(self, item: Item) -> None:
        traffic = self.registry.class_of.get(item.traffic)
        if traffic is not None and traffic.after_hold == "refuse":
            self.reject(item, "hold_over")
            return
        item.stage, item.reason = Stage.QUEUED, "hold_over"
        self.store.moved(item)
        self.queue(item)

    def tidy(self) -> None:
        try:
            self.store.compact()
        except (JournalCannotWrite, OSError) as error:
            self.alarms.raise_(JournalCannotWrite.code, str(error), self.now())

    # -- one wake-up

    def wake(self, who: Upstream | Partner | None = None) -> None:
        """Something happened; `_settle` follows in this turn of the loop."""
        if who is not None:
            self._dirty[who] = None
        if not self._is_woken:
            self._is_woken = True
            self.loop.call_soon(self._settle)

    def _settle(self) -> None:
        self._is_woken = False
        if self._answered:  # those of one wake-up waited about as long: counted together
            self.meter.add(time.monotonic(), self._answered, self._latency_s)
            self._answered = 0
        if self._rows:
            self._screen()
        dirty, self._dirty = list(self._dirty), {}
        picked = [(one, one.pick()) for one in dirty if isinstance(one, Upstream)]
        try:
            self.store.flush()
        except JournalCannotWrite as error:
            self._cannot_write(error, picked)
            return
        for upstream, ready in picked:
            if ready:
                upstream.send(ready)
        if self._acks or self._pendings or self._waiting:
            acks, pendings, waiting = self._acks, self._pendings, self._waiting
            self._acks, self._pendings, self._waiting = [], [], []
            self._durable.then(lambda: self._acknowledged(acks, pendings, waiting))
        for one in dirty:
            if isinstance(one, Partner):
                one.pump()
            for connection in one.connections:
                if connection.touched:
                    connection.touched = False
                    connection.flush()

    def _acknowledged(
        self, acks: list[tuple[Connection, Pdu]], pendings: list[Ask], waiting: list[Callable[[], object]]
    ) -> None:
        touched: dict[Connection, None] = {}
        for connection, answer in acks:
            connection.link.answer(answer)
            touched[connection] = None
        for connection in touched:
            connection.flush()
        for ask in pendings:
            self.answer(ask, None)
        for done in waiting:
            done()
        if pendings:
            self._settle()

    def _cannot_write(
        self, error: JournalCannotWrite, picked: list[tuple[Upstream, list[tuple[Connection, Item, Pdu]]]]
    ) -> None:
        """Nothing leaves that the disk does not know of; it is tried again soon."""
        self.alarms.raise_(error.code, str(error), self.now())
        log.error("the journal cannot be written", extra={"error": str(error)})
        for upstream, ready in picked:
            for _, item, _ in reversed(ready):
                upstream.put_back(item)
            self._dirty[upstream] = None
        self.loop.call_later(_AGAIN_S, self.wake)

    def _sync_failed(self, error: JournalCannotWrite) -> None:
        self.alarms.raise_(error.code, str(error), self.now())

    # -- small things

    def ended(self, cdr: Cdr) -> None:
        self.store.ended(cdr.id, cdr.record())
        self.on_ended(cdr)

    def _event(self, kind: str, data: dict[str, object]) -> None:
        """An entry of the ledger, written by the pipeline's side: a slow disk does not hold up the loop."""
        self.loop.run_in_executor(None, self._write_event, kind, data)

    def event(self, kind: str, data: dict[str, object]) -> None:
        self._event(kind, data)

    def _write_event(self, kind: str, data: dict[str, object]) -> None:
        try:
            self._ledger.record_event(kind, data, now=utc_now())
        except LedgerError as error:
            self.alarms.raise_(error.code, str(error), utc_now())

    @contextlib.contextmanager
    def pem_file(self, content: str) -> Iterator[str]:
        """OpenSSL reads keys from files only: one that nobody else can open, and that is gone at once."""
        handle, path = tempfile.mkstemp(prefix="mingbai-")
        try:
            os.write(handle, content.encode())
            os.close(handle)
            yield path
        finally:
            os.unlink(path)


_OUTCOMES: Final = {
    State.DELIVERED: Outcome.DELIVERED,
    State.ACCEPTED: Outcome.DELIVERED,
    State.EXPIRED: Outcome.EXPIRED,
    State.UNKNOWN: Outcome.IN_DOUBT,
}


def owed_for(item: Item, state: State, now: float) -> Owed:
    """The report of a message that ends here, with us."""
    return Owed(
        item.id, item.account, item.protocol, item.peer_id, item.message.source, item.destination, item.accepted,
        state, "", "", now, now + _REPORT_S,
    )  # fmt: skip


def cdr_of(one: Item | Awaited, outcome: Outcome, detail: str) -> Cdr:
    return Cdr(
        id=one.id,
        account=one.account,
        protocol=one.protocol,
        peer_id=one.peer_id,
        source=one.message.source if isinstance(one, Item) else one.source,
        destination=one.destination,
        smsc=one.smsc,
        accepted=one.accepted,
        entry=one.entry,
        outcome=outcome.value,
        detail=detail,
        verdict=one.verdict if isinstance(one, Item) else 0,
        ended=time.time(),
    )


def soon(now: datetime, seconds: float) -> datetime:
    return now + timedelta(seconds=seconds)
