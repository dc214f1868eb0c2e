"""The same tests on a real PostgreSQL: the same migrations, the same answers, and two changes at once."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.needs("postgresql")]
ROOT = Path(__file__).parents[2]


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    assert on_path is not None
    return Path(on_path).resolve().parent


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """URL of a server of our own, in a folder that goes afterwards. PostgreSQL refuses to run as root."""
    folder = Path(tempfile.mkdtemp(prefix="mingbai-pg-"))
    is_root = os.geteuid() == 0
    user = {"user": "postgres"} if is_root else {}
    if is_root:
        shutil.chown(folder, "postgres")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    programs, data = _programs(), folder / "data"

    def run(*command: str | Path) -> None:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            **user,
        )  # type: ignore[call-overload]  # the user is given or not
        assert done.returncode == 0, done.stderr

    try:
        run(programs / "initdb", "-D", data, "-U", "mingbai", "--auth=trust", "--encoding=UTF8", "--no-sync")
        options = f"-p {port} -k {folder} -h 127.0.0.1 -c fsync=off -c max_connections=50"
        run(programs / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start")
        try:
            yield f"postgresql://mingbai@127.0.0.1:{port}/postgres"
        finally:
            run(programs / "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("part", ["engine", "not engine"])  # together all of them; two processes may have one each
def test_the_tests_of_the_contexts_pass_on_postgresql(database: str, part: str) -> None:
    command = [
        sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-x", "tests/contexts",
        "-m", f"django_db and not slow and not needs and {part}", "--timeout", "300",
    ]  # fmt: skip
    environment = {**os.environ, "MINGBAI_TEST_DATABASE_URL": database}
    for name in ("PYTEST_XDIST_WORKER", "DJANGO_SETTINGS_MODULE"):
        environment.pop(name, None)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=800)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "database: postgresql" in done.stdout
    assert " passed" in done.stdout


def test_two_processes_append_to_one_chain(database: str, tmp_path: Path) -> None:
    """Each of 4 processes appends 50 entries; the chain is dense, whole, and has all of them."""
    program = tmp_path / "append.py"
    program.write_text(
        "import sys, django\n"
        "django.setup()\n"
        "from mingbai.contexts.audit import services, queries\n"
        "if sys.argv[1] == 'verify':\n"
        "    found = queries.verify()\n"
        "    print(found.ok, found.entries)\n"
        "else:\n"
        "    for n in range(50):\n"
        "        services.append('thing.done', actor='system', data={'by': sys.argv[1], 'n': n})\n"
    )
    environment = {
        **os.environ, "MINGBAI_DATABASE_URL": database, "MINGBAI_DATA": str(tmp_path / "data"),
        "DJANGO_SETTINGS_MODULE": "mingbai.console.settings",
    }  # fmt: skip

    def start(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, text=True)

    assert start("-m", "django", "migrate", "--verbosity", "0").wait(120) == 0
    running = [start(str(program), str(n)) for n in range(4)]
    assert [process.wait(120) for process in running] == [0, 0, 0, 0]
    assert start(str(program), "verify").communicate(timeout=60)[0].split() == ["True", "200"]


def test_a_console_on_postgresql_is_backed_up_and_restored_into_another_database(database: str, tmp_path: Path) -> None:
    import psycopg

    root = database.rsplit("/", 1)[0]
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE DATABASE one")
        connection.execute("CREATE DATABASE two")
    wanted = tmp_path / "config.toml"
    wanted.write_text(
        '[[account]]\nusername = "li"\nname = "李明"\nroles = [{ role = "reviewer" }]\n', encoding="utf-8"
    )

    def mingbai(name: str, data: str, *arguments: object) -> str:
        env = {**os.environ, "LC_ALL": "C.UTF-8", "MINGBAI_DATABASE_URL": f"{root}/{name}"}
        env["PATH"] = f"{_programs()}:{env['PATH']}"
        env.pop("DJANGO_SETTINGS_MODULE", None)
        command = [sys.executable, "-m", "mingbai.cli", *map(str, arguments), "--data", str(tmp_path / data)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=180)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    mingbai("one", "first", "apply", wanted, "--yes")
    before = mingbai("one", "first", "export")
    assert "李明" in before
    assert "console.pgdump" not in mingbai("one", "first", "backup", tmp_path / "copy.tar")
    assert "verify" in mingbai("two", "second", "restore", tmp_path / "copy.tar")
    assert mingbai("two", "second", "export") == before
