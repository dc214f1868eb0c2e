"""`mingbai ledger`: verify the record, anchor it, look into it, keep its keys."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Group, Parameter
from rich.text import Text

from mingbai.cli.arguments import FileUnusable
from mingbai.cli.console import say_plain, show_alarms, stdout
from mingbai.cli.details import message_of, translated
from mingbai.cli.labels import finding_line
from mingbai.cli.words import _
from mingbai.kernel.clock import parse_utc, utc_now
from mingbai.kernel.errors import BadValue, MingbaiError
from mingbai.settings import Settings, load_settings

if TYPE_CHECKING:
    from mingbai.connectors.anchor_export import Delivery
    from mingbai.ledger import StreamReport, VerifyReport

Data = Annotated[Path | None, Parameter(help=_("Data directory; left out, MINGBAI_DATA, or ~/.mingbai."))]
Stream = Annotated[str | None, Parameter(help=_("Only this stream; left out, all of them."))]

_GROUPS = {
    "group_commands": Group(_("Commands")),
    "group_arguments": Group(_("Arguments")),
    "group_parameters": Group(_("Options")),
}
app = App(name="ledger", help=_("Verify, anchor, query and keep the record."), help_format="plaintext", **_GROUPS)  # type: ignore[arg-type]  # cyclopts types each keyword apart
keys_app = App(name="keys", help=_("Back up, restore and rotate the keys."), help_format="plaintext", **_GROUPS)  # type: ignore[arg-type]  # as above
app.command(keys_app)
for _app in (app, keys_app):
    _app["--help"].help = _("Show this and exit.")


class NoLedger(MingbaiError):
    """There is nothing in the data directory yet."""

    code = "no_ledger"
    template = "{path}: there is no ledger yet; `mingbai screen FILE --ledger` begins one"


class NoAnchorTarget(MingbaiError):
    """Anchors were to go out, and no setting says where."""

    code = "no_anchor_target"
    template = (
        "no target of anchors is set: set anchors.file, anchors.mail_to or anchors.webhook_url (docs/settings.md)"
    )


def streams_of(settings: Settings, stream: str | None) -> list[str]:
    """The streams asked for. Raises NoLedger, or BadValue for one that is not there."""
    from mingbai.ledger import list_streams

    found = list_streams(settings.data)
    if not found:
        raise NoLedger(path=str(settings.data))
    if stream is not None and stream not in found:
        raise BadValue(field="--stream", value=stream, expected=", ".join(found))
    return found if stream is None else [stream]


# -- proof --


@app.command(
    help=_("Find any changed, missing or reordered byte. Exit code: 0 whole, 1 something found, 2 not verified.")
)
def verify(
    *,
    anchor: Annotated[
        Path | None, Parameter(help=_("File of anchors: also find what was cut off or rewritten before them."))
    ] = None,
    public_key: Annotated[
        str | None, Parameter(help=_("The signing key that you noted, 64 hex digits; else the anchors' own is shown."))
    ] = None,
    stream: Stream = None,
    data: Data = None,
) -> int:
    from mingbai.ledger import parse_public_key, verify

    settings = load_settings(data=data)
    names = [] if anchor is not None and stream is None else streams_of(settings, stream)
    key = None if public_key is None else parse_public_key(public_key)
    try:
        report = verify(settings.data, anchor=anchor, public_key=key, stream=names[0] if stream else None)
    except OSError as error:
        raise FileUnusable(path=str(anchor or settings.data), detail=error.strerror or str(error)) from error
    show_report(report, has_anchor=anchor is not None)
    return 0 if report.ok else 1


def show_report(report: VerifyReport, *, has_anchor: bool) -> None:
    """The answer first, then each stream, then what was found and where."""
    console = stdout()
    if report.ok:
        console.print(Text(_("✓ The record is whole."), style="bold green"))
    else:
        said = _("✕ Something is wrong with the record: {count} findings.").format(count=len(report.findings))
        console.print(Text(said, style="bold red"))
    for stream in report.streams:
        console.print(Text(stream_line(stream)))
        for day in stream.expired:
            console.print(Text("  " + _("deleted as its time was over: {what}").format(what=day), style="dim"))
        for note in stream.notes:
            console.print(Text(f"  {translated(note)}", style="dim"))
        for finding in stream.findings:
            console.print(Text(f"  ✕ {finding_line(finding)}", style="red"), soft_wrap=True)
        console.print(Text("  " + vouched_line(stream, has_anchor=has_anchor)))
    if has_anchor:
        for signer in report.signed_by:
            said = (
                _("anchors signed by {key}")
                if report.is_key_given
                else _("anchors signed by {key}: compare it with the key that you noted")
            )
            console.print(Text(said.format(key=signer)), soft_wrap=True)


def stream_line(stream: StreamReport) -> str:
    return _(
        "{stream}: {rows} entries in {commits} commits, {segments} segments ({sealed} sealed), {heads} signed heads"
    ).format(
        stream=stream.stream,
        rows=f"{stream.rows:,}",
        commits=f"{stream.commits:,}",
        segments=stream.segments,
        sealed=stream.sealed,
        heads=stream.heads,
    )


def vouched_line(stream: StreamReport, *, has_anchor: bool) -> str:
    """What an anchor covers, and what nobody can vouch for."""
    if not has_anchor:
        return _("without an anchor nobody can vouch that the whole chain was not rewritten: see ledger export-anchor")
    if stream.anchored_seq is None:
        return _("no anchor covers this stream")
    if stream.unvouched_rows:
        return _("anchored up to entry {seq}; for the {count} entries after it nobody can vouch").format(
            seq=f"{stream.anchored_seq:,}", count=f"{stream.unvouched_rows:,}"
        )
    return _("anchored up to its last entry")


@app.command(help=_("Sign the chain as it stands, and write the anchor that proves it, to keep elsewhere."))
def export_anchor(
    output: Annotated[
        Path,
        Parameter(allow_leading_hyphen=True, help=_("File to write (anchors in it stay); - is standard output.")),
    ],
    /,
    *,
    stream: Stream = None,
    data: Data = None,
) -> int:
    from mingbai.connectors.ledger_access import open_ledger
    from mingbai.ledger import Kind, anchor_bytes, fingerprint

    settings = load_settings(data=data)
    heads = []
    for name in streams_of(settings, stream):
        with open_ledger(settings, now=utc_now(), stream=name) as ledger:
            heads.append(ledger.sign_head(now=utc_now()))
            exported = {"to": "file", "seq": heads[-1].seq, "head": heads[-1].sha256.hex()}
            ledger.record_event(Kind.HEAD_EXPORTED, exported, now=utc_now())
    content = anchor_bytes(heads)
    if str(output) == "-":
        sys.stdout.buffer.write(content)
    else:
        try:
            with open(output, "ab") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise FileUnusable(path=str(output), detail=error.strerror or str(error)) from error
        say_plain(_("{count} anchors written to {path}").format(count=len(heads), path=output))
    say_plain(_("signed by {key}: note it apart from the ledger").format(key=fingerprint(heads[0].public_key)))
    return 0


@app.command(
    help=_(
        "Sign the chain, and send the anchor to every target that is set (anchors.*): file, mail, web-hook. "
        "Exit code: 0 all took it, 1 one did not (it waits and goes again), 2 nothing done."
    )
)
def anchor(*, stream: Stream = None, data: Data = None) -> int:
    from mingbai.connectors.anchor_export import sign_and_export
    from mingbai.connectors.anchor_targets import targets_of

    settings = load_settings(data=data)
    names = streams_of(settings, stream)
    if not targets_of(settings.anchors):
        raise NoAnchorTarget()
    show_alarms()
    exported = sign_and_export(settings, names, clock=utc_now)
    for name, error in exported.unsigned.items():
        stdout().print(Text(f"✕ {name}: {message_of(error)}", style="red"), soft_wrap=True)
    for delivery in exported.deliveries:
        stdout().print(delivery_line(delivery), soft_wrap=True)
    return 0 if exported.ok else 1


def delivery_line(delivery: Delivery) -> Text:
    """What became of one target."""
    if delivery.error is None:
        said = _("{target}: anchors taken: {count}").format(
            target=translated(delivery.target), count=len(delivery.taken)
        )
        return Text(f"✓ {said}", style="green")
    said = _("anchors that wait for the next export: {count}").format(count=delivery.waiting)
    return Text(f"✕ {message_of(delivery.error)}; {said}", style="red")


@app.command(help=_("Delete the numbers and texts whose time is over, by destroying their day's key."))
def expire(*, stream: Stream = None, data: Data = None) -> int:
    from mingbai.connectors.ledger_access import open_ledger

    settings = load_settings(data=data)
    count = 0
    for name in streams_of(settings, stream):
        with open_ledger(settings, now=utc_now(), stream=name) as ledger:
            for expired in ledger.expire(now=utc_now()):
                count += 1
                stdout().print(f"{name}  {expired.day}  {class_word(expired.kind.label)}", markup=False)
    if not count:
        stdout().print(_("nothing to delete: no time is over"))
    return 0


def class_word(label: str) -> str:
    """What is kept together under one key a day."""
    return {
        "numbers": _("numbers and times"),
        "allowed": _("text of allowed messages"),
        "stopped": _("text of flagged and stopped messages"),
    }.get(label, label)


# -- looking into it --


@app.command(help=_("Show the last entries. Numbers and texts stay closed."))
def show(
    *,
    last: Annotated[int, Parameter(alias="-n", help=_("How many."))] = 20,
    since: Annotated[
        str | None, Parameter(help=_("Only from this time on, such as 2026-11-24T08:00:00+08:00."))
    ] = None,
    stream: Stream = None,
    data: Data = None,
) -> int:
    from collections import deque

    from mingbai.cli.labels import category_word, verdict_text
    from mingbai.cli.summary import table
    from mingbai.kernel.verdicts import Category, Reason, Verdict
    from mingbai.ledger import StreamReader

    if last < 1:
        raise BadValue(field="--last", value=last, expected="1 or more")
    settings = load_settings(data=data)
    start = None if since is None else parse_utc(since, "--since")
    columns = ["seq", "at", "kind", "verdict", "category", "score", "reasons", "rules", "data"]
    result = table(
        (_("Entry"), "right"), (_("Time"), "left"), (_("What"), "left"), (_("Score"), "right"), (_("Why"), "left")
    )
    for name in streams_of(settings, stream):
        kept: deque[dict[str, Any]] = deque(maxlen=last)  # Any: rows of ENTRY as Python values
        reader = StreamReader(settings.data, name)
        first = 1
        if start is None:
            seqs = [batch.column("seq")[-1].as_py() for batch in reader.entries(["seq"])]
            first = max(1, (seqs[-1] if seqs else 1) - last + 1)
        for batch in reader.entries(columns, first_seq=first, since=start):
            kept.extend(batch.slice(max(0, batch.num_rows - last)).to_pylist())
        for entry in kept:
            verdict = entry["verdict"]
            at = entry["at"].astimezone().strftime("%m-%d %H:%M:%S")
            if verdict is None:
                result.add_row(
                    f"{entry['seq']}", at, Text(str(entry["kind"]), style="dim"), "", str(entry["data"])[:80]
                )
                continue
            what = verdict_text(Verdict(verdict)).append(f" {category_word(Category(entry['category']))}", style="dim")
            why = [Reason(code).label for code in entry["reasons"] or ()]
            why += [f"rule:{rule}" for rule in entry["rules"] or ()]
            result.add_row(f"{entry['seq']}", at, what, f"{entry['score']:.3f}", ", ".join(why))
    stdout().print(result)
    return 0


@app.command(help=_("Ask with SQL (DuckDB): the table is `entries`, over all streams, sealed and open segments."))
def query(
    sql: Annotated[str, Parameter(help=_("Such as: SELECT verdict, count(*) FROM entries GROUP BY verdict"))],
    /,
    *,
    as_csv: Annotated[bool, Parameter(name="--csv", negative=(), help=_("As CSV, for programs."))] = False,
    data: Data = None,
) -> int:
    from mingbai.connectors.ledger_query import run_query

    settings = load_settings(data=data)
    names = streams_of(settings, None)
    found = run_query(settings.data, names, sql)
    if as_csv:
        import csv

        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(found.columns)
        writer.writerows(found.rows)
        return 0
    from mingbai.cli.summary import table

    result = table(*((name, "left") for name in found.columns))
    for row in found.rows:
        result.add_row(*(Text("" if value is None else _shown(value)) for value in row))
    stdout().print(result)
    return 0


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


# -- keys --

PassphraseFile = Annotated[
    Path | None, Parameter(help=_("File whose first line is the passphrase; left out, it is asked for."))
]


def _passphrase(file: Path | None, *, twice: bool) -> str:
    if file is not None:
        try:
            return file.read_text(encoding="utf-8").splitlines()[0]
        except (OSError, UnicodeDecodeError, IndexError) as error:
            raise FileUnusable(path=str(file), detail=_("no passphrase could be read from it")) from error
    from getpass import getpass

    given = getpass(_("Passphrase (at least 12 characters): "))
    if twice and given != getpass(_("Again: ")):
        raise BadValue(field="passphrase", value="***", expected=_("the same twice"))
    return given


@keys_app.command(help=_("Write the keys, encrypted under a passphrase: for a safe or an escrow agent."))
def backup(
    output: Annotated[Path, Parameter(help=_("File to make (mode 0600); it must not exist."))],
    /,
    *,
    passphrase_file: PassphraseFile = None,
    data: Data = None,
) -> int:
    from mingbai.connectors.ledger_access import open_keys
    from mingbai.ledger import fingerprint

    keys = open_keys(load_settings(data=data))
    content = keys.export_keys(_passphrase(passphrase_file, twice=True))
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise FileUnusable(path=str(output), detail=error.strerror or str(error)) from error
    say_plain(
        _("keys of {key} written to {path}; without the passphrase nobody can use them").format(
            key=fingerprint(keys.public_key), path=output
        )
    )
    return 0


@keys_app.command(help=_("Put the keys of a backup in place. A key file that is there is never overwritten."))
def restore(
    backup: Annotated[Path, Parameter(help=_("File that `ledger keys backup` wrote."))],
    /,
    *,
    passphrase_file: PassphraseFile = None,
    data: Data = None,
) -> int:
    from mingbai.connectors.ledger_access import key_provider
    from mingbai.ledger import FileKeys, fingerprint, import_keys
    from mingbai.ledger.keys import restore_key_file

    provider = key_provider(load_settings(data=data))
    if not isinstance(provider, FileKeys):
        raise BadValue(
            field="ledger.keys_command",
            value=provider.source,
            expected=_("no command: keys that come from one are restored there"),
        )
    try:
        content = backup.read_bytes()
    except OSError as error:
        raise FileUnusable(path=str(backup), detail=error.strerror or str(error)) from error
    keys = restore_key_file(provider.path, import_keys(content, _passphrase(passphrase_file, twice=False)))
    say_plain(_("keys of {key} are in place: {path}").format(key=fingerprint(keys.public_key), path=provider.path))
    return 0


@keys_app.command(help=_("Replace a key: master (encrypts), signing (signs heads) or pseudonym (hashes numbers)."))
def rotate(
    which: Annotated[str, Parameter(help=_("master, signing or pseudonym"))],
    /,
    *,
    forget_old: Annotated[
        bool,
        Parameter(negative=(), help=_("pseudonym: destroy the old key; nobody can search entries before it any more.")),
    ] = False,
    data: Data = None,
) -> int:
    from mingbai.connectors.ledger_access import open_keys
    from mingbai.ledger import fingerprint, rotate_master_key, rotate_pseudonym_key, rotate_signing_key

    settings = load_settings(data=data)
    if which not in ("master", "signing", "pseudonym"):
        raise BadValue(field="WHICH", value=which, expected="master, signing or pseudonym")
    streams_of(settings, None)
    keys = open_keys(settings)
    if which == "master":
        done = rotate_master_key(settings.data, keys, now=utc_now())
        said = _("{done} day keys are under a new master key; {left} could not be opened and stay. Make a new backup.")
        say_plain(said.format(done=done.done, left=done.unreadable))
    elif which == "signing":
        public_key = rotate_signing_key(settings.data, keys, now=utc_now())
        say_plain(
            _("heads are signed by {key} from now on: note it. Make a new backup.").format(key=fingerprint(public_key))
        )
    else:
        epoch = rotate_pseudonym_key(settings.data, keys, now=utc_now(), forget_old=forget_old)
        say_plain(_("epoch {epoch} of pseudonyms begins. Make a new backup.").format(epoch=epoch))
    return 0
