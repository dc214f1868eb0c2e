"""The docs say what is true: settings as they are, links that lead somewhere, terms with their three names."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mingbai.settings import SettingRow, describe_settings

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])

FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)|<(?:img|a)\s[^>]*(?:src|href)=\"([^\"]+)\"")
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def settings_row(row: SettingRow) -> str:
    default = f"`{row.default}`" if row.default else "–"
    return f"| `{row.name}` | `{row.variable}` | {row.allowed} | {default} | {row.sentence} |"


@pytest.mark.parametrize("row", list(describe_settings()), ids=lambda row: row.name)
def test_every_setting_is_listed_as_it_is(row: SettingRow) -> None:
    assert settings_row(row) in (DOCS / "settings.md").read_text(encoding="utf-8").splitlines()


def test_no_setting_is_listed_that_does_not_exist() -> None:
    listed = re.findall(r"^\| `([^`]+)` \| `MINGBAI_", (DOCS / "settings.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert listed == [row.name for row in describe_settings()]


# --------------------------------------------------------------------------------------------------------------- links
def prose(page: Path) -> str:
    return CODE.sub("", FENCE.sub("", page.read_text(encoding="utf-8")))


def anchors(page: Path) -> set[str]:
    """Heading ids as GitHub and MkDocs make them: lower case, punctuation gone, hyphens for spaces."""
    titles = HEADING.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}


def links(page: Path) -> Iterator[str]:
    for match in LINK.finditer(prose(page)):
        target = match[1] or match[2]
        if not re.match(r"[a-z]+:", target):  # https:, mailto: are not ours to check
            yield target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_inside_the_docs_leads_somewhere(page: Path) -> None:
    for target in links(page):
        name, _, anchor = target.partition("#")
        goal = (page.parent / name).resolve() if name else page
        assert goal.exists(), f"{target} does not exist"
        assert ROOT in goal.parents or goal == ROOT, f"{target} leads out of the repository"
        if anchor and goal.suffix == ".md":
            assert anchor in anchors(goal), f"{target}: no such heading"


def test_the_link_check_sees_links(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        '# A b, c!\n[x](other.md#top) `[no](code.md)` <img src="a.png"> [web](https://example.org)\n```\n[y](z)\n```\n'
    )
    assert list(links(page)) == ["other.md#top", "a.png"]
    assert anchors(page) == {"a-b-c"}


# ----------------------------------------------------------------------------------------------- glossary, dependencies
def table_rows(page: Path, header: str) -> list[list[str]]:
    """The cells of every table in the page whose header line starts with `header`."""
    rows: list[list[str]] = []
    inside = False
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith(header):
            inside = True
        elif not line.startswith("|"):
            inside = False
        elif inside and not line.startswith("| ---"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_each_term_has_english_chinese_meaning_and_standard() -> None:
    rows = table_rows(DOCS / "glossary.md", "| English |")
    assert len(rows) > 60
    for row in rows:
        assert len(row) == 4, row
        english, chinese, meaning, standard = row
        assert english, row
        assert meaning, row
        assert standard, row
        assert CHINESE.search(chinese), row
    names = [row[0].lower() for row in rows]
    assert len(names) == len(set(names))


def direct_dependencies() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = list(project["build-system"]["requires"]) + list(project["project"]["dependencies"])
    for extra in project["project"]["optional-dependencies"].values():
        wanted += extra
    return {re.split(r"[<>=!~\[; ]", requirement)[0].lower() for requirement in wanted}


def test_every_direct_dependency_is_explained_and_pinned() -> None:
    explained = {row[0].strip("`").lower() for row in table_rows(DOCS / "dependencies.md", "| Package |")}
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    wanted = direct_dependencies()
    assert explained == wanted
    assert wanted <= pinned


def test_the_pins_are_exact_and_name_no_address() -> None:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert line.startswith("#") or re.fullmatch(r"[a-z0-9-]+==[0-9A-Za-z.]+", line), json.dumps(line)
