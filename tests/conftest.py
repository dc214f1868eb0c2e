"""What every test shares: seeds, long loops, tests that need a system package, and skips that count as failures.

- `seed` is a random number, printed in the header of the run; `MINGBAI_SEED=<n>` repeats a run.
- `loops(n)` gives the part of a long loop to run: a tenth in `dev.py test`, all of it in `dev.py soak`.
- `@pytest.mark.needs("java")` skips where the program is missing; the names are the rows of SYSTEM in dev.py.
- `--no-skips` (used by .ci/run) turns each skip into a failure, so that green means that everything ran.
"""

from __future__ import annotations

import importlib.util
import os
import random
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, Phase, settings

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


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed: MINGBAI_SEED={os.environ['MINGBAI_SEED']}, loops: MINGBAI_LOOPS={LOOPS:g}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "loops" in getattr(item, "fixturenames", ()) or _is_property_test(item):
            item.add_marker(pytest.mark.soak)


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
