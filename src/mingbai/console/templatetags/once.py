"""Markup that is made once and kept, for pages that many people ask for every few seconds.

    {% once %}<button>{% icon "undo-2" %}{% translate "Undo" %}</button>{% endonce %}
    {% once item.verdict %}{% verdict item.verdict %}{% endonce %}

What stands between depends on the language and the values named, and on nothing else: no token, no person, no time.
"""

from __future__ import annotations

from typing import Any, Final

from django import template
from django.template.base import FilterExpression, Node, NodeList, Parser, Token
from django.utils.translation import get_language

register = template.Library()
_MOST: Final = 500  # for values that turn out to be many: more than a page of few verdicts and categories has


class _Once(Node):
    def __init__(self, content: NodeList, values: list[FilterExpression]) -> None:
        self._content = content
        self._values = values
        self._made: dict[tuple[Any, ...], str] = {}  # Any: what the values are

    def render(self, context: template.Context) -> str:
        key = (get_language(), *(value.resolve(context) for value in self._values))
        made = self._made.get(key)
        if made is None:
            made = self._content.render(context)
            if len(self._made) >= _MOST:
                self._made.clear()
            self._made[key] = made
        return made


@register.tag
def once(parser: Parser, token: Token) -> Node:
    """See the top of the module."""
    values = [parser.compile_filter(part) for part in token.split_contents()[1:]]
    content = parser.parse(("endonce",))
    parser.delete_first_token()
    return _Once(content, values)
