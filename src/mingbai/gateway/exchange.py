"""Where everything meets: requests become rows, rows decisions, decisions queues, answers reports.

One wake-up of the loop: connections hand in what came; `_settle` then screens the new rows, marks what goes upstream,
writes the journal once, and only then lets anything leave. New messages are written by the pipeline's thread, after the
ledger and before their answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from mingbai.connectors.gateway_registry import Account, Mode, Registry, Route
from mingbai.connectors.screening_client import ScreenerBusy
from mingbai.engines.screening.schema import MESSAGE, NETWORK, TIME
from mingbai.gateway.cdr import Cdr, CdrWriter
from mingbai.gateway.connection import Connection
from mingbai.gateway.dispatch import Dispatch, cdr_of, owed_for
from mingbai.gateway.disposition import Action, action_of
from mingbai.gateway.identities import Identities
from mingbai.gateway.intake import Ask, Intake, Row, answer_of, is_network
from mingbai.gateway.items import Item, Originated, Outcome, Owed, Stage
from mingbai.gateway.journal import Journal, JournalCannotWrite
from mingbai.gateway.limits import Shared
from mingbai.gateway.meter import Alarms, Meter
from mingbai.gateway.orders import Orders
from mingbai.gateway.partner import Partner
from mingbai.gateway.pipeline import Answer, Pipeline, Submission
from mingbai.gateway.prefixing import warned
from mingbai.gateway.recovery import await_again, take_up
from mingbai.gateway.routing import AccessCodes, Portability, Routes, read_portability
from mingbai.gateway.store import Durable, Recovered, Store
from mingbai.gateway.upstream import Upstream
from mingbai.kernel.clock import to_micros, utc_now
from mingbai.kernel.errors import BadValue, MingbaiError
from mingbai.kernel.verdicts import Reason
from mingbai.ledger import KeyStore, Ledger, LedgerError
from mingbai.protocols.messages import ShortMessage, Wanted
from mingbai.protocols.pdu import Pdu
from mingbai.protocols.receipts import State
from mingbai.protocols.reports import Refusal

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
        self.orphans: dict[int, float] = {}  # awaited messages whose SMSC is in the registry no more, and their end
        self.sgip_sequences = identities.sgip
        self.deliver_id = identities.deliver_id
        self.peer_id = identities.peer_id
        self.on_ended: Callable[[Cdr], None] = cdrs.write
        self.call_back: Callable[[Partner], None] = lambda partner: None
        self.on_stray: Callable[[int, str, Any], None] = lambda number, smsc, values: None  # Any: `upstream.report_of`
        self._identities = identities
        self._ledger = ledger
        self._journal = journal
        self._clock = clock
        self.intake = Intake(self)
        self.dispatch = Dispatch(self)
        self.orders = Orders(self)
        self._pipeline = make_pipeline(self._recorded)
        self._durable = Durable(journal, self._sync_failed)
        self._rows: list[Row] = []
        self.dirty: dict[Upstream | Partner, None] = {}
        self._acks: list[tuple[Connection, Pdu]] = []
        self._waiting: list[Callable[[], object]] = []
        self._answered, self._latency_s = 0, 0.0
        self._pendings: list[Ask] = []
        self._is_woken = False
        self._portability: tuple[tuple[str, float] | None, Portability] = (None, Portability())
        self.submits = self.intake.submits
        self.message = self.intake.message

    # -- time

    def now(self) -> datetime:
        return self._clock()

    def seconds(self) -> float:
        """Since 1970: what items and records say."""
        return time.time() if self._clock is utc_now else self._clock().timestamp()

    def loop_time(self) -> float:
        return self.loop.time()

    # -- life

    def start(self, recovered: Recovered) -> None:
        """Take up what the journal has. The registry is in force already."""
        self._pipeline.start()
        self._is_started = True
        take_up(self, recovered)
        self.wake()

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
            self.dispatch.queue(item)
        self.wake()

    def _apply_smscs(self, registry: Registry) -> None:
        for smsc in registry.smscs:
            upstream = self.upstreams.get(smsc.name)
            if upstream is None:
                upstream = self.upstreams[smsc.name] = Upstream(smsc, self)
                if self._is_started:
                    await_again(self, smsc.name)
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
                    self.dispatch.queue(item)

    async def _restart(self, upstream: Upstream) -> None:
        await upstream.stop()
        if upstream.smsc.active and not self.is_draining:
            upstream.start()

    def _ported(self, registry: Registry) -> Portability:
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
        at = to_micros(self._clock())
        batch = pa.RecordBatch.from_arrays(
            [
                pa.array([row.text for row in rows], pa.string()),
                pa.array([row.source for row in rows], pa.string()),
                pa.array([row.items[0].destination for row in rows], pa.string()),
                pa.array([None if is_network(row.partner) else row.source for row in rows], pa.string()),
                pa.array([at] * len(rows), pa.int64()).cast(TIME),
            ],
            schema=MESSAGE,
        )
        if any(row.fields for row in rows):
            batch = _with_fields(batch, rows)

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
                self.dispatch.tell(owed)
            for item in row.items:
                self.ended(cdr_of(item, Outcome.REFUSED, "screen"))
        else:
            for item in row.items:
                self.store.took(item, row.segment)
            if action is Action.WARN:
                self._warn(row.items, row)
            elif action is Action.FORWARD:
                for item in row.items:
                    self.dispatch.queue(item)
        self._done(ask, row, None)

    def _decided_parts(self, row: Row) -> None:
        """The joined text was judged; each part was answered long ago."""
        items = [item for item in row.items if self.store.items.get(item.id) is item]
        for item in items:
            item.entry, item.verdict, item.fields = row.entry, row.verdict, None
            if row.action in (Action.SWALLOW, Action.REFUSE):
                self.dispatch.reject(item, "screen")
                continue
            held = row.action is Action.HOLD
            item.stage = Stage.HELD if held else Stage.QUEUED
            item.due = self.seconds() + (60.0 * row.traffic.hold_minutes if held else 0.0)
            self.store.moved(item)
        if row.action is Action.WARN:
            self._warn(items, row)
        elif row.action in (Action.FORWARD, Action.TRY_LATER):
            for item in items:
                self.dispatch.queue(item)

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
            self.dispatch.queue(item)

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
                    self.dispatch.end_with_report(item, State.REJECTED)
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
        self.dirty[partner] = None

    def counted(self, why: Refusal) -> None:
        self.totals["refused"] += 1
        self.refusals[why.name.lower()] += 1

    def when_durable(self, done: Callable[[], object]) -> None:
        """Call `done` once everything noted so far is on the disk."""
        self._waiting.append(done)
        self.wake()

    def acknowledge(self, connection: Connection, answer: Pdu) -> None:
        """Answer when everything that was noted so far is on the disk."""
        self._acks.append((connection, answer))

    def tick(self) -> None:
        """Every second: what is due."""
        now, at = self.seconds(), self.loop.time()
        for partner in self.partners.values():
            partner.rate.sample(partner.accepted + partner.refused, at)
            for connection in partner.connections:
                connection.rate.sample(connection.link.received + connection.link.sent, at)
            for joined in partner.joiner.expire(now):
                self.intake.joined(partner, joined)
            self.dirty[partner] = None
        for upstream in self.upstreams.values():
            upstream.rate.sample(upstream.sent, at)
            for connection in upstream.connections:
                connection.rate.sample(connection.link.received + connection.link.sent, at)
            upstream.expire(now)
            self.dirty[upstream] = None
            if upstream.queue and not upstream.bound and any(one.is_open for one in self.upstreams.values()):
                waiting, upstream.queue = list(upstream.queue), type(upstream.queue)()
                for item in waiting:  # another SMSC of the route may have come up since
                    self.dispatch.queue(item)
        for item in list(self.store.items.values()):
            if item.stage is Stage.HELD and item.due <= now:
                self.dispatch.hold_over(item)
            elif item.stage in (Stage.QUEUED, Stage.DEAD) and item.expires <= now:
                self.dispatch.expired(item)
        told: list[Owed | Originated] = [*self.store.owed.values(), *self.store.originated.values()]
        for one in told:
            if one.expires <= now:
                self.dispatch.undeliverable(one)
        for number in [number for number, end in self.orphans.items() if end <= now]:
            del self.orphans[number]
            self.dispatch.never_reported(number)
        self._say_how_it_is(at)
        if not self._journal.is_synced:  # marks wait for the next acknowledgement to be synced; at most a second
            self._durable.then(lambda: None)
        self.wake()

    def _say_how_it_is(self, at: float) -> None:
        """Alarms that stand for as long as something is so."""
        now = self.now()
        ways: list[Account | Route] = [*self.registry.accounts, *self.registry.routes]
        bypassed = [one.name for one in ways if one.mode is Mode.BYPASS and one.bypass_until and now < one.bypass_until]
        down = [name for name, one in self.upstreams.items() if one.smsc.active and one.is_down(at)]
        for code, names in (("bypass_in_force", bypassed), ("smsc_down", down)):
            if names:
                self.alarms.raise_(code, ", ".join(names), now, count=int(code not in self.alarms))
            else:
                self.alarms.clear(code)

    def tidy(self) -> None:
        try:
            self.store.compact()
        except (JournalCannotWrite, OSError) as error:
            self.alarms.raise_(JournalCannotWrite.code, str(error), self.now())

    # -- one wake-up

    def wake(self, who: Upstream | Partner | None = None) -> None:
        """Something happened; `_settle` follows in this turn of the loop."""
        if who is not None:
            self.dirty[who] = None
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
        dirty, self.dirty = list(self.dirty), {}
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
            self.dirty[upstream] = None
        self.loop.call_later(_AGAIN_S, self.wake)

    def _sync_failed(self, error: JournalCannotWrite) -> None:
        self.alarms.raise_(error.code, str(error), self.now())

    # -- small things

    def ended(self, cdr: Cdr) -> None:
        self.store.ended(cdr.id, cdr.record())
        self.on_ended(cdr)

    def event(self, kind: str, data: dict[str, object]) -> None:
        """An entry of the ledger, written by the pipeline's side: a slow disk does not hold up the loop."""
        self.loop.run_in_executor(None, self._write_event, kind, data)

    def _write_event(self, kind: str, data: dict[str, object]) -> None:
        try:
            self._ledger.record_event(kind, data, now=utc_now())
        except LedgerError as error:
            self.alarms.raise_(error.code, str(error), utc_now())


def _with_fields(batch: pa.RecordBatch, rows: list[Row]) -> pa.RecordBatch:
    """With a column for each of IMSI, MSC, cell and device that some row brings."""
    for column in NETWORK:
        values = [row.fields.get(column.name) if row.fields else None for row in rows]
        if any(values):
            batch = batch.append_column(column, pa.array(values, column.type))
    return batch
