"""dev.py and tests/conftest.py: what a run of the suite may and may not do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

SUITE = """
import pytest
@pytest.mark.skip(reason="not today")
def test_skipped(): pass
@pytest.mark.xfail(reason="a known fault")
def test_expected_to_fail(): assert False
def test_of_loops(seed, loops): print("rounds", loops(200), "seed", seed)
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    (tmp_path / "tests").mkdir()
    for name in ("pyproject.toml", "dev.py", "tests/conftest.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "tests" / "test_suite.py").write_text(SUITE)
    return tmp_path


def pytest_in(folder: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:xdist", "-p", "no:cacheprovider", *options],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_a_skip_is_listed_and_is_a_failure_only_where_it_is_asked_for(suite: Path) -> None:
    lenient = pytest_in(suite)
    assert lenient.returncode == 0, lenient.stdout
    assert "not today" in lenient.stdout
    strict = pytest_in(suite, "--no-skips")
    assert strict.returncode == 1, strict.stdout
    assert "a skip is a failure in this run" in strict.stdout
    assert re.search(r"1 passed, 1 xfailed, 1 error", strict.stdout), strict.stdout


@pytest.mark.slow
def test_a_test_file_that_skips_itself_is_a_failure_too(suite: Path) -> None:
    (suite / "tests" / "test_absent.py").write_text('import pytest\npytest.importorskip("no_such_package")\n')
    assert pytest_in(suite).returncode == 0
    assert pytest_in(suite, "--no-skips").returncode != 0


@pytest.mark.slow
def test_long_loops_run_a_tenth_or_whole_and_seeds_repeat(suite: Path) -> None:
    tenth = pytest_in(suite, "-s", "-m", "soak", MINGBAI_LOOPS="0.1", MINGBAI_SEED="7")
    assert "rounds 20 seed 7" in tenth.stdout
    whole = pytest_in(suite, "-s", "-m", "soak", MINGBAI_LOOPS="1.0", MINGBAI_SEED="7")
    assert "rounds 200 seed 7" in whole.stdout


def test_every_need_of_a_test_has_its_row_in_dev_py() -> None:
    rows = set(
        re.findall(r'^    "([a-z-]+)": SystemPackage\(', (ROOT / "dev.py").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert rows
    asked = re.compile(r'mark\.needs\("([^"]+)"\)')
    for path in (ROOT / "tests").rglob("test_*.py"):
        assert set(asked.findall(path.read_text(encoding="utf-8"))) <= rows, path


def test_dev_py_says_what_it_can_do() -> None:
    said = subprocess.run(
        [sys.executable, ROOT / "dev.py", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for verb in ("demo", "test", "check", "soak", "bench", "docs", "fmt"):
        assert f"python3 dev.py {verb}" in said
    wrong = subprocess.run([sys.executable, ROOT / "dev.py", "tset"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "tset" in wrong.stderr


@pytest.mark.slow
def test_a_link_of_the_docs_that_leads_nowhere_fails_the_check(tmp_path: Path) -> None:
    shutil.copy(ROOT / "mkdocs.yml", tmp_path / "mkdocs.yml")
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "index.md"
    ask = "import dev; print(*dev.build_docs()[1:])"
    options = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True, check=True)

    def build() -> int:
        command = [sys.executable, "-m", "mkdocs", *options.stdout.split(), "--site-dir", str(tmp_path / "site")]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode

    page.write_text("# Title\n\n[here](#title)\n")
    assert build() == 0
    page.write_text("# Title\n\n[away](nowhere.md)\n")
    assert build() != 0
