"""`mingbai screen`: files of messages in, decisions out.

Nothing heavy is imported until the command line has been read: the engine's compiled code takes a second to load.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from mingbai.cli.arguments import refuse_options
from mingbai.cli.console import progress_bar, say_plain, show_alarms, stderr
from mingbai.cli.details import message_of, translated
from mingbai.cli.fast_start import leave_out_unused
from mingbai.cli.words import _
from mingbai.kernel.clock import utc_now
from mingbai.kernel.errors import BadValue, MingbaiError
from mingbai.settings import Settings, load_settings

if TYPE_CHECKING:
    from mingbai.connectors.batch.record import Recorder
    from mingbai.connectors.batch.tally import Tally
    from mingbai.connectors.tables import Reject
    from mingbai.ledger import Head, Ledger

_SHOWN_REJECTS = 5  # without a rejects file, so many are named on standard error


def screen(
    *inputs: Annotated[
        str,
        Parameter(allow_leading_hyphen=True, help=_("CSV, TSV, JSON Lines or Parquet, also .gz; - is standard input.")),
    ],
    output: Annotated[
        str | None,
        Parameter(
            alias="-o",
            allow_leading_hyphen=True,
            help=_("Parquet, CSV or JSON Lines by extension; left out, a summary is shown."),
        ),
    ] = None,
    text_column: Annotated[str, Parameter(help=_("Column that holds the text."))] = "text",
    sender_column: Annotated[str | None, Parameter(help=_("Column of the sender's number."))] = None,
    receiver_column: Annotated[str | None, Parameter(help=_("Column of the receiver's number."))] = None,
    access_code_column: Annotated[str | None, Parameter(help=_("Column of the access code."))] = None,
    time_column: Annotated[str | None, Parameter(help=_("Column of the time."))] = None,
    imsi_column: Annotated[str | None, Parameter(help=_("Column of the sender's IMSI."))] = None,
    msc_column: Annotated[str | None, Parameter(help=_("Column of the MSC that it was sent from."))] = None,
    cell_column: Annotated[str | None, Parameter(help=_("Column of the cell that it was sent from."))] = None,
    device_column: Annotated[
        str | None, Parameter(help=_("Column of the device's IMEI, or its first 8 digits."))
    ] = None,
    zone: Annotated[str, Parameter(help=_("Time zone of times that name none."))] = "Asia/Shanghai",
    encoding: Annotated[str | None, Parameter(help=_("Encoding of text files; left out, it is recognised."))] = None,
    format: Annotated[str | None, Parameter(help=_("csv, tsv, jsonl or parquet: what - is."))] = None,
    rules: Annotated[Path | None, Parameter(help=_("Rulebook; left out, the one that is set, or none."))] = None,
    model: Annotated[
        Path | None, Parameter(help=_("Model; left out, the one that is set, or the shipped one."))
    ] = None,
    rejects: Annotated[
        Path | None, Parameter(help=_("File (CSV or JSON Lines) for rows that cannot be read, with line and cause."))
    ] = None,
    keep_columns: Annotated[bool, Parameter(negative=(), help=_("Write the input's own columns too."))] = False,
    guard_formulas: Annotated[
        bool, Parameter(negative=(), help=_("CSV made for a spreadsheet: a cell that starts like a formula gets a '."))
    ] = False,
    ledger: Annotated[
        bool, Parameter(negative=(), help=_("Record the decisions in the data directory, before they are written."))
    ] = False,
    data: Annotated[Path | None, Parameter(help=_("Data directory; left out, MINGBAI_DATA, or ~/.mingbai."))] = None,
    threads: Annotated[int | None, Parameter(help=_("Threads; left out, one a core. The result is the same."))] = None,
    progress: Annotated[bool | None, Parameter(help=_("Progress bar; left out, on a terminal only."))] = None,
) -> int:
    """Exit code: 0 done, 1 done but some rows were rejected, 2 nothing done."""
    refuse_options(inputs)
    settings = load_settings(data=data)
    if threads is not None and threads < 1:
        raise BadValue(field="--threads", value=threads, expected="1 or more")
    show_alarms()

    leave_out_unused()
    from mingbai.connectors.batch.run import screen_tables
    from mingbai.connectors.policies import read_policy
    from mingbai.connectors.tables import STANDARD_STREAM, RejectsWriter, open_output, read_messages

    source = read_policy(
        rulebook=rules or settings.screening.rulebook, model=model or settings.screening.model, now=utc_now()
    )
    with ExitStack() as stack:
        on_reject = stack.enter_context(RejectsWriter(rejects)) if rejects is not None else _NamedRejects()
        reader = read_messages(
            inputs,
            on_reject=on_reject,
            format=format if STANDARD_STREAM in inputs else None,
            text_column=text_column,
            sender_column=sender_column,
            receiver_column=receiver_column,
            access_code_column=access_code_column,
            time_column=time_column,
            network_columns={"imsi": imsi_column, "msc": msc_column, "cell": cell_column, "device": device_column},
            keep_columns=keep_columns,
            zone=zone,
            encoding=encoding,
            batch_rows=settings.screening.batch_rows,
        )
        policy = source.policy()
        recorder = None
        if ledger:
            from mingbai.connectors.batch.record import Recorder
            from mingbai.connectors.ledger_access import open_ledger

            opened = stack.enter_context(open_ledger(settings, now=utc_now()))
            opened.expire(now=utc_now())
            recorder = Recorder(opened, policy, utc_now)
        try:
            writer = None
            if output is not None:
                chosen = format if output == STANDARD_STREAM else None
                writer = stack.enter_context(
                    open_output(output, reader.kept_schema, format=chosen, guard_formulas=guard_formulas)
                )
            update = stack.enter_context(progress_bar(progress, _("Screening")))
            started = time.monotonic()
            tally = screen_tables(
                reader,
                policy,
                threads=threads or len(os.sched_getaffinity(0)),
                output=writer,
                recorder=recorder,
                on_progress=update,
                with_campaigns=output is None,
            )
        finally:
            if recorder is not None:
                _finish_record(recorder, opened, settings)
    _report(tally, reader.rejected, rejects, output, time.monotonic() - started)
    return 1 if reader.rejected else 0


class _NamedRejects:
    """Rejected rows without a file for them: the first few are named, the rest counted by the reader."""

    def __init__(self) -> None:
        self._shown = 0

    def __call__(self, reject: Reject) -> None:
        if self._shown < _SHOWN_REJECTS:
            line = _("{file}, line {line}: rejected: {detail}")
            say_plain(line.format(file=reject.file, line=reject.line, detail=translated(reject.detail)), style="yellow")
        elif self._shown == _SHOWN_REJECTS:
            say_plain(_("more rows are rejected; --rejects FILE keeps them all"), style="yellow")
        self._shown += 1


def _finish_record(recorder: Recorder, ledger: Ledger, settings: Settings) -> None:
    """Sign what was recorded, also after a failure, say up to where it is durable, and export the anchor if due."""
    from mingbai.ledger import LedgerError

    if recorder.receipt is None:
        return
    head = None
    try:
        head = recorder.finish()
    except LedgerError as error:  # the run may end because of this very error; proof is late, not lost
        say_plain(_("the last head could not be signed: {error}").format(error=error), style="yellow")
    said = _("recorded: {rows} decisions, durable up to entry {seq} of stream {stream}").format(
        rows=f"{recorder.rows:,}", seq=f"{recorder.receipt.last_seq:,}", stream=recorder.receipt.stream
    )
    say_plain(said)
    if head is not None:
        _export_anchor(head, ledger, settings)


def _export_anchor(head: Head, ledger: Ledger, settings: Settings) -> None:
    """Send the anchor to the targets that are set, if it is time. A failure is a warning: proof is late, not lost."""
    from mingbai.connectors.anchor_export import export_heads, is_export_due, note_in_ledger

    try:
        if not is_export_due(settings, now=utc_now()):
            return
        deliveries = export_heads(settings, [head], now=utc_now())
        for delivery in deliveries:
            if delivery.error is not None:
                say_plain(_("warning: {error}").format(error=message_of(delivery.error)), style="yellow")
        note_in_ledger(ledger, deliveries, now=utc_now())
    except MingbaiError as error:
        say_plain(_("warning: {error}").format(error=message_of(error)), style="yellow")


def _report(tally: Tally, rejected: int, rejects: Path | None, output: str | None, seconds: float) -> None:
    from mingbai.cli.summary import show_summary, summary_line

    if output is None:
        show_summary(tally, rejected=rejected, rejects=rejects, seconds=seconds)
    else:
        stderr().print(summary_line(tally, rejected=rejected, seconds=seconds), soft_wrap=True)
    if tally.unscreened:
        said = _("ALARM: {count} messages could not be screened and passed as allowed (reason unscreened)")
        say_plain(said.format(count=f"{tally.unscreened:,}"), style="bold red")
