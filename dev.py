#!/usr/bin/env python3
"""The one door for people who work on Mingbai: makes `.venv`, installs what is pinned, runs the verbs below.

    python3 dev.py demo           a day of traffic, screened in the terminal; then the console, live
    python3 dev.py test           the whole suite: the checks, then every test
    python3 dev.py test --fast    the same without slow tests, in under a minute
    python3 dev.py check          format, lint, types, import contracts, docs
    python3 dev.py soak           the long loops whole (crash rounds, fuzzing); `test` runs a tenth of them
    python3 dev.py bench          every benchmark, beside its peer and its floor
    python3 dev.py docs           build the docs into site/
    python3 dev.py fmt            format and mend what ruff can mend
    python3 dev.py setup          only make the environment

Several verbs may stand in a row: `python3 dev.py fmt check test`. What follows `--` goes to pytest, `demo` or the
benchmarks: `python3 dev.py test -- -k ledger`.

Needs Python 3.11 or newer with nothing installed, and git. Packages come through pip, with whatever index the user
has configured, in exactly the versions of `constraints.txt`; a stamp in `.venv` remembers what was installed, so that
the second run starts at once. Nothing is installed outside `.venv`, with one exception: `test`, run as root on a
machine with apt, installs the system packages that tests use (SYSTEM below) and says so first.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "mingbai-stamp.json"
WARM = VENV / "mingbai-warm"
SLOW_LOOPS, WHOLE_LOOPS = "0.1", "1.0"  # MINGBAI_LOOPS: the part of each long loop that runs, read by tests/conftest.py

# Extras of pyproject.toml that each kind of work needs. `demo` gets by with the least, so that a newcomer waits least.
USE: tuple[str, ...] = ()
WORK: tuple[str, ...] = ("train", "spark", "dev")
PEERS: tuple[str, ...] = ("train", "spark", "dev", "bench")


@dataclass(frozen=True)
class SystemPackage:
    """Something tests use that pip cannot bring. A test asks for it with `@pytest.mark.needs("<name>")`."""

    programs: tuple[str, ...]  # present if one of these is on the PATH ...
    files: tuple[str, ...]  # ... or one of these patterns matches below /usr/share
    package: str  # in Debian 12 and Ubuntu
    purpose: str

    def is_present(self) -> bool:
        if any(shutil.which(program) for program in self.programs):
            return True
        return any(next(Path("/usr/share").glob(pattern), None) for pattern in self.files)


SYSTEM: dict[str, SystemPackage] = {
    "java": SystemPackage(("java",), (), "openjdk-17-jre-headless", "the engine inside a real local PySpark run"),
    "chromium": SystemPackage(
        ("chromium", "chromium-browser", "google-chrome"), (), "chromium", "pages, seen in a browser"
    ),
    "postgresql": SystemPackage(
        ("postgres",),
        ("../lib/postgresql/*/bin/postgres",),
        "postgresql",
        "the console's tests again, on a real PostgreSQL",
    ),
    "node": SystemPackage(("node",), (), "nodejs", "clients of every protocol that share no code with ours"),
    "npm": SystemPackage(("npm",), (), "npm", "brings node-smpp, an independent client"),
    "kannel": SystemPackage(
        ("bearerbox",), ("../sbin/bearerbox",), "kannel", "an independent gateway that sends through ours"
    ),
    "redis": SystemPackage(("redis-server",), (), "redis-server", "limits that several gateway workers count together"),
    "cjk-fonts": SystemPackage(
        (), ("fonts/**/NotoSansCJK*", "fonts/**/*wqy*"), "fonts-noto-cjk", "Chinese in pictures"
    ),
}


class Failed(Exception):
    """A step did not succeed; what it printed says why."""


# -------------------------------------------------------------------------------------------------------- environment
def say(text: str) -> None:
    print(f"dev.py: {text}", flush=True)


def run(command: Sequence[str | Path], env: dict[str, str] | None = None) -> None:
    """Run in the root of the repository, output passed through; Failed if it does not exit 0."""
    done = subprocess.run([str(part) for part in command], cwd=ROOT, env={**os.environ, **(env or {})}, check=False)
    if done.returncode:
        raise Failed(
            f"`{' '.join(Path(str(command[0])).name if i == 0 else str(c) for i, c in enumerate(command))}` "
            f"ended with {done.returncode}"
        )


def is_root_with_apt() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def apt_install(packages: Iterable[str]) -> bool:
    """Install Debian packages without a question; False if that did not work (apt has then said why)."""
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]

    def apt(command: list[str]) -> bool:
        done = subprocess.run(command, env=env, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        return done.returncode == 0

    # Package lists may be missing (a fresh image) or name versions that the mirror no longer has: then refresh them.
    return apt(install) or (apt(["apt-get", "update", "-qq"]) and apt(install))


def make_venv() -> None:
    """An empty `.venv` that has pip. Debian and Ubuntu split `ensurepip` off into python3-venv."""
    command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    probe = subprocess.run([sys.executable, "-c", "import ensurepip, venv"], capture_output=True, check=False)
    if probe.returncode:
        if not is_root_with_apt():
            raise Failed(
                "this Python cannot make virtual environments: install python3-venv "
                "(Debian, Ubuntu: sudo apt-get install python3-venv) and run this again"
            )
        package = f"python3.{sys.version_info.minor}-venv"
        say(f"installing the system package {package}: Python's own virtual environments need it")
        if not apt_install([package]):
            raise Failed(f"apt-get could not install {package}")
    run(command)


def wanted_stamp(extras: Iterable[str]) -> dict[str, object]:
    project = read_project()
    needs = [project["build-system"], project["project"]]  # the rest of the file sets tools, and installs nothing
    pins = hashlib.sha256((ROOT / "constraints.txt").read_bytes() + json.dumps(needs).encode())
    return {"python": sys.version, "root": str(ROOT), "pins": pins.hexdigest(), "extras": sorted(extras)}


def read_project() -> dict[str, Any]:  # Any: TOML
    import tomllib  # here, so that an older Python gets as far as main's message

    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def read_stamp() -> dict[str, object]:
    try:
        stamp: dict[str, object] = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}
    return stamp


def ensure_environment(extras: Iterable[str]) -> None:
    """`.venv` with the core, the named extras and the package itself, in the pinned versions."""
    have = read_stamp()
    known = have.get("extras")
    had = {str(extra) for extra in known} if isinstance(known, list) else set()
    want = wanted_stamp(extras)
    same_ground = PYTHON.exists() and {**have, "extras": 0} == {**want, "extras": 0}
    if same_ground and had.issuperset(extras):
        return
    if not same_ground:
        had = set()
    if not PYTHON.exists() or have.get("python") != want["python"] or have.get("root") != want["root"]:
        say(f"making {VENV.name} with Python {sys.version.split()[0]}")
        make_venv()
    STAMP.unlink(missing_ok=True)  # an interrupted installation must not look finished

    started = time.monotonic()
    project = read_project()
    everything = sorted(had.union(extras))
    packages = list(project["project"]["dependencies"])
    for extra in everything:
        packages += project["project"]["optional-dependencies"][extra]
    say(
        f"installing the pinned packages of constraints.txt (core{''.join(f', {e}' for e in everything)}); "
        "once, it takes a minute or a few"
    )
    pip: list[str | Path] = [PYTHON, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    # Build tools first and no isolation after them: so the pins hold for what builds from source too.
    run([*pip, "-c", "constraints.txt", *project["build-system"]["requires"], "editables", "setuptools"])
    run([*pip, "-c", "constraints.txt", "--no-build-isolation", *packages])
    run([*pip, "--no-build-isolation", "--no-deps", "-e", "."])
    STAMP.write_text(json.dumps(wanted_stamp(everything), indent=1))
    say(f"environment ready after {time.monotonic() - started:.0f} s")


def warm_up() -> None:
    """Compile the kernels before anybody waits for them; again only when a source that compiles has changed."""
    module = "mingbai.engines.screening.warm"
    if not (ROOT / "src" / Path(*module.split("."))).with_suffix(".py").exists():
        return
    sources = [path.read_bytes() for path in sorted((ROOT / "src").rglob("*.py"))]
    compiled = [source for source in sources if b"numba" in source or b"screening.jit" in source]
    state = hashlib.sha256(b"".join(compiled)).hexdigest()
    if WARM.exists() and WARM.read_text() == state:
        return
    say("compiling the kernels; once, until one of them changes")
    # numba looks only at the file of the outermost function: what was inlined from a changed file would stay as it was.
    for stale in (ROOT / "src").rglob("*.nb[ic]"):
        stale.unlink()
    run([PYTHON, "-m", module])
    WARM.write_text(state)


def system_packages_used() -> dict[str, SystemPackage]:
    """The rows of SYSTEM that some test names in a `needs` marker."""
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")]
    return {name: row for name, row in SYSTEM.items() if any(f'needs("{name}")' in text for text in sources)}


def ensure_system_packages() -> None:
    missing = {name: row for name, row in system_packages_used().items() if not row.is_present()}
    if not missing:
        return
    if not is_root_with_apt():
        for row in missing.values():
            say(f"{row.package} is missing ({row.purpose}): the tests that need it are skipped and listed at the end")
        return
    for row in missing.values():
        say(f"installing the system package {row.package} for the tests: {row.purpose}")
    if not apt_install([row.package for row in missing.values()]):
        say("apt-get could not install all of them; the tests that need them are skipped and listed at the end")


# -------------------------------------------------------------------------------------------------------------- verbs
def with_sources(*names: str) -> list[str | Path]:
    return [name for name in names if next((ROOT / name).rglob("*.py"), None) or (ROOT / name).is_file()]


def tool(name: str) -> Path:
    return VENV / "bin" / name


def build_docs() -> list[str | Path]:
    # Not --quiet: mkdocs then drops the warnings before it has counted them, and a broken link passes as strict.
    return [tool("mkdocs"), "build", "--strict"]


def check(_: argparse.Namespace) -> None:
    """All checks run even if an early one fails: a person wants the whole list."""
    ensure_environment(WORK)
    # mypy's plugin and Django's commands read the settings: with a data directory of their own, not the user's.
    quiet = {**os.environ, "MINGBAI_DATA": str(VENV / "check-data")}
    quiet["DJANGO_SETTINGS_MODULE"] = "mingbai.console.settings"
    quiet["NO_MKDOCS_2_WARNING"] = "1"  # an advertisement, not a finding
    steps: list[tuple[str, list[str | Path]]] = [
        ("types", [tool("mypy"), "--no-error-summary", *with_sources("src", "tests", "benchmarks", "dev.py")]),
        ("format", [tool("ruff"), "format", "--check", "--quiet", "."]),
        ("lint", [tool("ruff"), "check", "--quiet", "."]),
        ("import contracts", [tool("lint-imports"), "--no-logo"]),
        ("migrations", [PYTHON, "-m", "django", "makemigrations", "--check", "--dry-run"]),
        ("Django", [PYTHON, "-m", "django", "check"]),
        ("docs", [*build_docs(), "--site-dir", VENV / "site-check"]),
    ]

    def ran(command: Sequence[str | Path]) -> tuple[int, str, float]:
        started = time.monotonic()
        done = subprocess.run(
            [str(c) for c in command],
            cwd=ROOT,
            env=quiet,
            check=False,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        return done.returncode, done.stdout, time.monotonic() - started

    failed = []
    with ThreadPoolExecutor(2) as pool:
        found = [(name, pool.submit(ran, command)) for name, command in steps]
        for name, outcome in found:
            code, said, took = outcome.result()
            say(f"check {name}: {'ok' if code == 0 else 'FAILED'} ({took:.1f} s)")
            if code:
                print(said, flush=True)
                failed.append(name)
    if failed:
        raise Failed(f"checks failed: {', '.join(failed)}")


def pytest(*options: str, loops: str, arguments: argparse.Namespace) -> None:
    warm_up()
    # One process more than there are cores: many tests wait for servers, browsers and disks.
    workers = str((os.cpu_count() or 1) + 1)
    command: list[str | Path] = [PYTHON, "-m", "pytest", "-n", workers, "--dist", "worksteal", *options]
    command += ["--no-skips"] if arguments.no_skips else []
    run([*command, *arguments.rest], {"MINGBAI_LOOPS": os.environ.get("MINGBAI_LOOPS", loops)})


def test(arguments: argparse.Namespace) -> None:
    """The checks, then the tests, whatever the checks say; fails if either does."""
    if not arguments.fast:
        ensure_system_packages()
    ensure_environment(WORK)
    findings: Failed | None = None
    if "check" not in arguments.verbs:  # `check test` has just run them
        with ThreadPoolExecutor(1) as pool:
            warm = pool.submit(warm_up)  # meanwhile: neither needs the other
            try:
                check(arguments)
            except Failed as failure:
                findings = failure
            warm.result()
    selection = ["-m", "not slow and not needs"] if arguments.fast else []
    pytest(*selection, loops=SLOW_LOOPS, arguments=arguments)
    if findings is not None:
        raise findings


def soak(arguments: argparse.Namespace) -> None:
    ensure_system_packages()
    ensure_environment(WORK)
    pytest("-m", "soak", "--timeout", "0", loops=WHOLE_LOOPS, arguments=arguments)


def demo(arguments: argparse.Namespace) -> None:
    ensure_environment(USE)
    warm_up()
    run([tool("mingbai"), "demo", *arguments.rest])


def bench(arguments: argparse.Namespace) -> None:
    ensure_environment(PEERS)
    warm_up()
    run([PYTHON, "-m", "benchmarks", *arguments.rest])


def docs(_: argparse.Namespace) -> None:
    ensure_environment(WORK)
    run(build_docs(), {"NO_MKDOCS_2_WARNING": "1"})
    say("the docs are in site/index.html")


def fmt(_: argparse.Namespace) -> None:
    ensure_environment(WORK)
    run([tool("ruff"), "check", "--quiet", "--fix-only", "."])
    run([tool("ruff"), "format", "--quiet", "."])


def setup(_: argparse.Namespace) -> None:
    ensure_environment(WORK)
    warm_up()


VERBS: dict[str, Callable[[argparse.Namespace], None]] = {
    "demo": demo,
    "test": test,
    "check": check,
    "soak": soak,
    "bench": bench,
    "docs": docs,
    "fmt": fmt,
    "setup": setup,
}


def main(argv: Sequence[str]) -> int:
    if sys.version_info < (3, 11):  # noqa: UP036 - ruff is right only where this cannot matter: the user picks the Python
        print(f"dev.py: needs Python 3.11 or newer, this is {sys.version.split()[0]}", file=sys.stderr)
        return 2
    own, rest = (argv[: argv.index("--")], argv[argv.index("--") + 1 :]) if "--" in argv else (argv, [])
    parser = argparse.ArgumentParser(
        prog="dev.py", description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verbs", nargs="+", choices=VERBS, metavar="VERB", help=", ".join(VERBS))
    parser.add_argument("--fast", action="store_true", help="test: leave out slow tests")
    parser.add_argument("--no-skips", action="store_true", help="test, soak: a skipped test is a failure")
    arguments = parser.parse_args(own)
    arguments.rest = list(rest)
    try:
        for verb in arguments.verbs:
            VERBS[verb](arguments)
    except Failed as failure:
        say(str(failure))
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
