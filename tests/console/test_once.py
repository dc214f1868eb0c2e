"""Markup that is made once: per language and per value named, and never again."""

from __future__ import annotations

from django.template import Context, Template
from django.utils import translation


def test_it_is_made_once_for_each_language_and_value() -> None:
    made: list[object] = []

    def shown(value: object = "") -> str:
        made.append(value)
        return "x"

    template = Template("{% load once i18n %}{% once a %}{{ a }}{{ shown }}{% translate 'Review desk' %}{% endonce %}")

    def page(language: str, value: int) -> str:
        with translation.override(language):
            return template.render(Context({"a": value, "shown": shown}))

    assert page("en", 1) == page("en", 1) == "1xReview desk"
    assert len(made) == 1
    assert page("en", 2) == "2xReview desk"
    assert page("zh-hans", 1) != page("en", 1)
    assert len(made) == 3
