"""Copying the console's database while it is in use, and putting a copy back."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

from mingbai.connectors.backup import BackupFailed, BackupUnreadable
from mingbai.settings import Settings

SQLITE, POSTGRESQL = "console.sqlite3", "console.pgdump"


def copy_database(settings: Settings, folder: Path) -> Path | None:
    """A consistent copy: SQLite's own online backup, or `pg_dump`. None if there is no database yet."""
    if settings.database_url is not None:
        target = folder / POSTGRESQL
        _run(["pg_dump", "--format=custom", "--no-owner", f"--file={target}"], settings)
        return target
    source = settings.data / SQLITE
    if not source.exists():
        return None
    target = folder / SQLITE
    with closing(sqlite3.connect(source, timeout=30)) as live, closing(sqlite3.connect(target)) as copy:
        live.backup(copy, pages=2000)
        (problem,) = copy.execute("PRAGMA quick_check").fetchone()
        if problem != "ok":
            raise BackupFailed(path=str(source), what=f"SQLite finds it damaged: {problem}")
        copy.execute("PRAGMA journal_mode=DELETE")  # one file
    return target


def put_back(settings: Settings, name: str) -> None:
    """Put the restored DATA/database/<name> where the console will find it. Raises BackupUnreadable."""
    folder = settings.data / "database"
    if not name:
        shutil.rmtree(folder, ignore_errors=True)
        return
    if (name == POSTGRESQL) != (settings.database_url is not None):
        wanted = "PostgreSQL: set MINGBAI_DATABASE_URL" if name == POSTGRESQL else "SQLite: unset MINGBAI_DATABASE_URL"
        raise BackupUnreadable(path=str(folder / name), what=f"this backup is of a console on {wanted}")
    if name == SQLITE:
        os.replace(folder / SQLITE, settings.data / SQLITE)
    else:
        _run(["pg_restore", "--no-owner", "--exit-on-error", "--single-transaction", str(folder / name)], settings)
    shutil.rmtree(folder)


def _run(command: list[str], settings: Settings) -> None:
    """pg_dump and pg_restore, with the password in the environment: arguments can be seen by every user."""
    assert settings.database_url is not None
    url = urlsplit(settings.database_url.get_secret_value())
    from urllib.parse import unquote

    env = {**os.environ, "PGPASSWORD": unquote(url.password or "")}
    program, *rest = command
    where = [f"--dbname={unquote(url.path.strip('/'))}", f"--host={url.hostname or 'localhost'}"]
    where += [f"--port={url.port}"] if url.port else []
    where += [f"--username={unquote(url.username)}"] if url.username else []
    try:
        done = subprocess.run(
            [program, *where, *rest], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        what = f"{program} is not installed (Debian: postgresql-client)"
        raise BackupFailed(path="PostgreSQL", what=what) from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no word"]
        raise BackupFailed(path="PostgreSQL", what=f"{program}: {lines[0]}")
