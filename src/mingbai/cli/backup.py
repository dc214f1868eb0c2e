"""`mingbai backup` and `mingbai restore`: everything in one file, while it runs, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.filesize import decimal

from mingbai.cli.console import show_alarms, stdout
from mingbai.cli.labels import finding_line
from mingbai.cli.words import _
from mingbai.kernel.clock import utc_now
from mingbai.settings import load_settings

Data = Annotated[Path | None, Parameter(help=_("Data directory; left out, the one that is set."))]


def backup(
    file: Annotated[Path, Parameter(help=_("Where the backup goes; must not be there yet."))],
    /,
    *,
    data: Data = None,
    without_keys: Annotated[
        bool, Parameter(negative=(), help=_("Leave the keys out; without them no text can be read again."))
    ] = False,
) -> int:
    """Exit code: 0 written, 2 not."""
    settings = load_settings(data=data)
    show_alarms()
    from mingbai.connectors.backup import write_backup
    from mingbai.console.database import copy_database

    has_file_keys = not settings.ledger.keys_command
    made = write_backup(
        settings.data,
        file,
        now=utc_now(),
        copy_database=lambda folder: copy_database(settings, folder),
        with_keys=not without_keys and has_file_keys,
        keys_path=settings.ledger.keys,
    )
    out = stdout()
    say = _("{path}: {size}, {files} files, streams: {streams}")
    size, streams = decimal(made.bytes), ", ".join(made.streams) or _("none")
    out.print(say.format(path=made.path, size=size, files=made.files, streams=streams), markup=False, soft_wrap=True)
    if made.has_keys:
        out.print(_("It holds the keys: guard it as you guard the system itself."), style="yellow")
    else:
        out.print(_("It holds no keys: keep them apart (mingbai ledger keys export)."), style="yellow")
    return 0


def restore(
    file: Annotated[Path, Parameter(help=_("A file that `mingbai backup` wrote."))],
    /,
    *,
    data: Annotated[Path, Parameter(help=_("Where to: a directory that is not there yet, or empty."))],
) -> int:
    """Exit code: 0 restored and verified, 1 restored but it does not verify, 2 not restored."""
    settings = load_settings(data=data)
    show_alarms()
    from mingbai.connectors.backup import extract_backup
    from mingbai.console.database import put_back
    from mingbai.ledger import verify
    from mingbai.server import control_stream_problem

    made = extract_backup(file, settings.data)
    put_back(settings, made.database)
    out = stdout()
    say = _("Restored {files} files of {time}, made by version {version}.")
    out.print(say.format(files=made.files, time=made.created_at, version=made.version), markup=False, soft_wrap=True)
    report = verify(settings.data)
    for finding in report.findings:
        out.print(finding_line(finding), markup=False, soft_wrap=True, style="red")
    problem = control_stream_problem(settings) if made.database else None
    if problem is not None:
        out.print(_("control stream: {what}").format(what=problem), markup=False, soft_wrap=True, style="red")
    if report.ok and problem is None:
        out.print(_("The ledger and the control stream verify."), style="green")
        return 0
    return 1
