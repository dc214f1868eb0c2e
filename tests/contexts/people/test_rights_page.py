"""docs/reference/rights.md holds the matrix as the code has it."""

from __future__ import annotations

from pathlib import Path

from django.utils import translation

from mingbai.contexts.people import policy
from mingbai.contexts.people.choices import Role
from mingbai.contexts.people.policy import MATRIX, SECOND_FACTOR_ROLES, Action
from mingbai.contexts.people.words import ACTIONS, SCOPES

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "rights.md"


def table() -> str:
    """The matrix in Markdown. To bring the page up to date, print this and paste it."""
    with translation.override("en"):
        roles = list(policy.roles())
        names = [f"{Role(role).label}{' ²' if role in SECOND_FACTOR_ROLES else ''}" for role in roles]
        lines = [f"| Action | | {' | '.join(names)} |", "| --- " * (len(roles) + 2) + "|"]
        for action in Action:
            cells = [str(SCOPES[MATRIX[action][role]]) if role in MATRIX[action] else "–" for role in roles]
            lines.append(f"| `{action}` | {ACTIONS[action]} | {' | '.join(cells)} |")
        return "\n".join(lines)


def test_the_page_has_the_table_of_the_code() -> None:
    assert table() in PAGE.read_text(encoding="utf-8")


def test_every_action_and_scope_has_words() -> None:
    assert set(ACTIONS) == set(Action)
    assert {scope for cells in MATRIX.values() for scope in cells.values()} == set(SCOPES)
