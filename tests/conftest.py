"""What every test shares: seeds, long loops, tests that need a system package, and skips that count as failures.

- `seed` is a random number, printed in the header of the run; `MINGBAI_SEED=<n>` repeats a run.
- `loops(n)` gives the part of a long loop to run: a tenth in `dev.py test`, all of it in `dev.py soak`.
- `@pytest.mark.needs("java")` skips where the program is missing; the names are the rows of SYSTEM in dev.py.
- Django's settings are loaded here, with a data directory of this run's own; `account`, `client_for` make people to
  test with. `MINGBAI_TEST_DATABASE_URL` runs the same tests on PostgreSQL (tests/contexts/test_postgresql.py does).
- `--no-skips` (used by .ci/run) turns each skip into a failure, so that green means that everything ran.
"""

from __future__ import annotations

import atexit
import functools
import importlib.util
import itertools
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, settings

if TYPE_CHECKING:
    from django.test import Client

    from mingbai.contexts.people.models import Account, Unit

LOOPS = float(os.environ.get("MINGBAI_LOOPS", "0.1"))

# No profile has a deadline: a test never asserts a time. In CI the examples are the same each run, so that a red run
# means that the change broke something; elsewhere they differ, and a failure prints what repeats it.
settings.register_profile("test", deadline=None, print_blob=True, derandomize="CI" in os.environ)
settings.register_profile(
    "soak",
    deadline=None,
    print_blob=True,
    max_examples=5_000,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("soak" if LOOPS >= 1 else "test")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="a skipped test, or test file, is a failure")


def pytest_configure(config: pytest.Config) -> None:
    # In the environment, so that the workers of pytest-xdist get the same one.
    os.environ.setdefault("MINGBAI_SEED", str(random.SystemRandom().randrange(2**32)))
    os.environ.setdefault("MINGBAI_GATEWAY__WORKERS", "0")  # its ports are for the tests that ask for it
    _load_django()


def pytest_report_header(config: pytest.Config) -> str:
    from django.conf import settings as django_settings

    engine = django_settings.DATABASES["default"]["ENGINE"].rpartition(".")[2]
    return f"seed: MINGBAI_SEED={os.environ['MINGBAI_SEED']}, loops: MINGBAI_LOOPS={LOOPS:g}, database: {engine}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "loops" in getattr(item, "fixturenames", ()) or _is_property_test(item):
            item.add_marker(pytest.mark.soak)
        if "screener" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.engine)


def _is_property_test(item: pytest.Item) -> bool:
    return bool(getattr(getattr(item, "obj", None), "is_hypothesis_test", False))


@pytest.fixture
def seed() -> int:
    return int(os.environ["MINGBAI_SEED"])


@pytest.fixture
def loops() -> Callable[[int], int]:
    """`loops(200)`: how many of 200 rounds to run, at least one."""
    return lambda whole: max(1, round(whole * LOOPS))


# ------------------------------------------------------------------------------------------------ tests with needs
def _dev(root: Path) -> ModuleType:
    """dev.py as a module: its SYSTEM table is the one list of programs that tests may ask for."""
    if (module := sys.modules.get("mingbai_dev")) is not None:
        return module
    spec = importlib.util.spec_from_file_location("mingbai_dev", root / "dev.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["mingbai_dev"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        for name in mark.args:
            row = _dev(item.config.rootpath).SYSTEM[name]
            if not row.is_present():
                pytest.skip(f"missing: {name} (Debian, Ubuntu: apt-get install {row.package}), for {row.purpose}")


# --------------------------------------------------------------------------------------------- skips that are failures
@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and item.config.getoption("no_skips"):
        _fail_instead(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped and collector.config.getoption("no_skips"):
        _fail_instead(report)
    return report


def _fail_instead(report: pytest.TestReport | pytest.CollectReport) -> None:
    why = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"{why}\n(a skip is a failure in this run: --no-skips)"


# ------------------------------------------------------------------------------------------------------------- Django
def _load_django() -> None:
    """Django's settings, once for the process, on a data directory that goes when the process ends.

    Only while they are loaded are the variables set: tests of settings and commands must not meet them.
    """
    if "mingbai.console.settings" in sys.modules:
        return
    folder = tempfile.mkdtemp(prefix="mingbai-test-")
    owner = os.getpid()
    atexit.register(lambda: shutil.rmtree(folder, ignore_errors=True) if os.getpid() == owner else None)
    wanted = {
        "MINGBAI_DATA": folder,
        # Its own tests switch it on; elsewhere it would stand before every page of an administrator.
        "MINGBAI_CONSOLE__REQUIRE_SECOND_FACTOR": "false",
        "MINGBAI_DATABASE_URL": os.environ.get("MINGBAI_TEST_DATABASE_URL", ""),
    }
    # Named in the environment of a child (a worker of pytest-xdist), Django would be loaded there before this file is.
    wanted["DJANGO_SETTINGS_MODULE"] = "mingbai.console.settings"
    kept = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        from django.conf import settings as django_settings

        django_settings.INSTALLED_APPS  # noqa: B018 - loads them; pytest-django then sets Django up
    finally:
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@pytest.fixture(scope="session")
def django_db_modify_db_settings_xdist_suffix() -> None:
    """pytest-django would put the worker's name behind the database's, which it spares Django's own SQLite only.

    Ours is in memory too, so that each process has its own; on PostgreSQL the tests run in one process.
    """


@pytest.fixture
def data_dir() -> Path:
    """The data directory that the console's settings name, empty at the start of each test but for its key."""
    from django.conf import settings as django_settings

    folder: Path = django_settings.MINGBAI.data
    for path in folder.iterdir():
        if path.name in ("ledger", "policies", "index", "anchors"):
            shutil.rmtree(path)
        elif path.name.startswith(("keys.json", "withheld")):
            path.unlink()
    return folder


@pytest.fixture
def account(db: None) -> Callable[..., Account]:
    """`account("reviewer")`, `account("branch_manager", unit)`: somebody with a role, who can sign in with PASSWORD.

    A role that is limited to a unit gets one of its own where none is given; a subscriber gets a number.
    """
    from mingbai.contexts.people import policy
    from mingbai.contexts.people.services import accounts, units
    from mingbai.kernel.clock import utc_now

    counter = itertools.count(1)

    def make(role: str | None = None, unit: Unit | None = None, **fields: Any) -> Account:  # Any: an account's own
        place = next(counter)
        widest = policy.widest_scope(role) if role else ""
        if widest == "own":
            fields.setdefault("number", f"+86138{place:08d}")
        fields.setdefault("username", f"{(role or 'nobody').replace('_', '-')}-{place}")
        made = accounts.create_account(actor="system", now=utc_now(), **fields)
        made.password = _hashed()
        made.save(update_fields=("password",))
        if role is None:
            return made
        if unit is None and widest in ("branch", "partner"):
            code = f"{widest}-{place}"
            unit = units.create_unit(
                code, kind=widest, name=code, access_codes=[f"1069{place:04d}"], actor="system", now=utc_now()
            )
        accounts.assign_role(made, role, unit=unit, actor="system", now=utc_now())
        return made

    return make


@pytest.fixture
def client_for(account: Callable[..., Account]) -> Callable[..., Client]:
    """`client_for("auditor")`: a browser in which somebody with the role is signed in; `.account` is who."""

    def make(role: str | None = None, unit: Unit | None = None, **fields: Any) -> Client:  # Any: an account's own
        return client_of(account(role, unit, **fields))

    return make


def client_of(who: Account) -> Client:
    """A browser in which this account is signed in. Pages come in English."""
    from django.test import Client

    client = Client(headers={"accept-language": "en"})
    client.force_login(who)
    client.account = who  # type: ignore[attr-defined]  # for tests that want to know
    return client


PASSWORD = "correct horse 电池 staple"


@functools.cache
def _hashed() -> str:
    """Argon2 is slow on purpose; one hash does for all."""
    from django.contrib.auth.hashers import make_password

    return make_password(PASSWORD)
