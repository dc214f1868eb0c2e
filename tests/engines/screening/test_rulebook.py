"""The rulebook file: what it may say, and how it is refused."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingbai.engines.screening.rulebook import (
    Problem,
    Rule,
    Rulebook,
    RulebookInvalid,
    load,
    load_shipped,
    parse,
    time_zone,
)
from mingbai.engines.screening.rulebook_types import NumberPattern, RuleCategory
from mingbai.engines.screening.toml_lines import table_lines
from mingbai.kernel.verdicts import Category, Verdict

pytestmark = pytest.mark.slow

HEAD = '[rulebook]\nname = "test"\nversion = "1"\ntime_zone = "Asia/Shanghai"\n'
RULE = '[[rule]]\nid = "{id}"\ncategory = "spam"\naction = "block"\nowner = "desk"\nreason = "because"\n'


def normalise(text: str) -> list[int]:
    """Letters and digits only, lower case: enough of an alphabet for these tests."""
    return [ord(c) & 0xFFFF for c in text.lower() if c.isalnum()]


def rule_of(lines: str) -> Rule:
    return parse(HEAD + RULE.format(id="a") + lines, normalise).rules[0]


def problems_of(content: str | bytes) -> tuple[Problem, ...]:
    with pytest.raises(RulebookInvalid) as caught:
        parse(content, normalise, source="rules.toml")
    return caught.value.problems


def test_every_field_is_read() -> None:
    rule = rule_of(
        """
        priority = 7
        enabled = false
        valid_from = 2026-01-01
        valid_to = 2026-01-31
        keywords = ["加微信", "加微信", "刷单"]
        keywords_all = ["a", "b"]
        keywords_none = ["警方"]
        case = true
        regexes = ['\\d{6}']
        on = "normalised"
        domains = ["*.Example.COM", "中国移动.com"]
        urls = ["https://Evil.top/Pay/*"]
        numbers = ["400-123-4567", "170*", "QQ:123456", "wx:Abc_12345"]
        senders = ["10690*", "12306"]
        access_codes = ["1069"]
        signatures = ["【某某银行】", "中国*"]
        hours = ["22:00-08:00", "12:00-24:00"]
        message_category = ["fraud"]
        score_min = 0.5
        score_max = 1
        """
    )
    assert rule.category is RuleCategory.SPAM
    assert rule.action is Verdict.BLOCK
    assert (rule.priority, rule.enabled, rule.case, rule.on) == (7, False, True, "normalised")
    # A date is a whole day of the rulebook's time zone; `valid_to` is that day's end.
    assert rule.valid_from == datetime(2025, 12, 31, 16, tzinfo=UTC)
    assert rule.valid_to == datetime(2026, 1, 31, 16, tzinfo=UTC)
    assert rule.keywords == ("加微信", "刷单")
    assert rule.domains == ("example.com", "xn--fiq02ib9d179b.com")
    assert rule.urls == ("evil.top/Pay/*",)
    assert rule.numbers == (
        NumberPattern("phone", "4001234567", False),
        NumberPattern("phone", "170", True),
        NumberPattern("contact", "123456", False),
        NumberPattern("contact", "abc_12345", False),
    )
    assert rule.signatures == ("某某银行", "中国*")
    assert rule.hours == ((22 * 60, 8 * 60), (12 * 60, 24 * 60))
    assert rule.message_category == (Category.FRAUD,)
    assert (rule.score_min, rule.score_max) == (0.5, 1.0)


def test_all_problems_come_in_one_pass_each_at_its_line() -> None:
    content = (
        HEAD  # lines 1 to 4
        + "[[rule]]\n"  # 5
        + 'id = "first"\n'
        + 'category = "politics"\n'  # 7
        + 'action = "delete"\n'  # 8
        + 'owner = "desk"\n'
        + 'reason = "because"\n'
        + "keywords = [\n"  # 11
        + '    "good",\n'
        + '    "。。！",\n'  # 13
        + "]\n"
        + 'regexes = ["(a"]\n'  # 15
        + "[[rule]]\n"  # 16
        + 'id = "first"\n'  # 17
        + 'category = "fraud"\n'
        + 'action = "hold"\n'
        + 'owner = "desk"\n'
        + "priority = 1.5\n"  # 21
        + 'keyword = ["x"]\n'  # 22
        + 'score_min = "high"\n'  # 23
    )
    found = {(p.line, p.field): str(p) for p in problems_of(content)}
    assert set(found) == {
        (7, "category"),
        (8, "action"),
        (13, "keywords"),
        (15, "regexes"),
        (16, "reason"),
        (17, "id"),
        (21, "priority"),
        (22, "keyword"),
        (23, "score_min"),
    }
    assert "Missing close parenthesis" in found[15, "regexes"]  # Hyperscan's own words
    assert "did you mean keywords?" in found[22, "keyword"]
    with pytest.raises(RulebookInvalid) as caught:
        parse(content, normalise, source="rules.toml")
    assert all(line in str(caught.value) for line in found.values())
    assert found[8, "action"].startswith("rules.toml:8: rule first: action: got 'delete', expected one of allow, flag")


def test_a_category_of_opinion_is_refused_and_the_answer_says_why() -> None:
    content = (HEAD + RULE.format(id="a") + 'keywords = ["x"]\n').replace('"spam"', '"opinion"')
    (problem,) = problems_of(content)
    assert problem.field == "category"
    assert "never for opinion" in problem.expected
    assert "brand_protection, number_protection, delivery" in problem.expected


@pytest.mark.parametrize(
    ("lines", "field"),
    [
        ("", ""),  # no condition at all
        ('keywords_none = ["x"]', ""),  # only an exclusion
        ("keywords = []", "keywords"),
        ('keywords = ["' + "长" * 33 + '"]', "keywords"),
        ("keywords = [1]", "keywords"),
        ('keywords = ["a\\u0000b"]', "keywords"),
        ("keywords_all = [" + ", ".join(f'"k{i}"' for i in range(33)) + "]", "keywords_all"),
        (r"regexes = ['(?=x)y']", "regexes"),
        (r"regexes = ['(a)\1']", "regexes"),
        (r"regexes = ['a*']", "regexes"),  # matches the empty text
        (r"regexes = ['\Aabc']", "regexes"),
        (r"regexes = ['(?-m)^abc']", "regexes"),
        (r"regexes = ['" + "a" * 1001 + "']", "regexes"),
        ('domains = ["http://a.com/x"]', "domains"),
        ('domains = ["a b.com"]', "domains"),
        ('urls = ["*"]', "urls"),
        ('numbers = ["12"]', "numbers"),
        ('numbers = ["qq:1"]', "numbers"),
        ('numbers = ["abc"]', "numbers"),
        ('senders = ["*"]', "senders"),
        ('senders = ["a*b"]', "senders"),
        ('access_codes = ["10a"]', "access_codes"),
        ('hours = ["25:00-08:00"]', "hours"),
        ('hours = ["08:00-08:00"]', "hours"),
        ('message_category = ["spam"]', "message_category"),
        ("score_min = 1.5", "score_min"),
        ("score_min = true", "score_min"),
        ("score_min = nan", "score_min"),
        ("score_min = 0.9\nscore_max = 0.1", "score_max"),
        ('keywords = ["x"]\nvalid_from = "2026-01-01"', "valid_from"),
        ('keywords = ["x"]\nvalid_from = 2026-01-02\nvalid_to = 2026-01-01', "valid_to"),
        ('keywords = ["x"]\nvalid_to = 9999-12-31', "valid_to"),
        ('keywords = ["x"]\npriority = 1001', "priority"),
        ('keywords = ["x"]\npriority = true', "priority"),
        ('keywords = ["x"]\non = "normalised"', "on"),
        ('keywords_file = "../x.txt"', "keywords_file"),
        ('keywords_file = "/etc/passwd"', "keywords_file"),
        ('keywords_file = "x.txt"', "keywords_file"),  # this rulebook is not in a folder
        ('keywords = ["x"]\n[rule.more]\nx = 1', "more"),
    ],
)
def test_a_bad_field_is_named(lines: str, field: str) -> None:
    assert [p.field for p in problems_of(HEAD + RULE.format(id="a") + lines)] == [field]


def test_local_hours_need_a_time_zone() -> None:
    content = HEAD.replace('time_zone = "Asia/Shanghai"\n', "") + RULE.format(id="a") + 'hours = "08:00-09:00"\n'
    assert [p.field for p in problems_of(content)] == ["hours"]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[rulebook]\nname = '\xe4\xbd'", "[rulebook", "a = 2026-13-01", ""])
def test_what_is_not_a_rulebook_at_all_is_refused(content: bytes | str) -> None:
    assert problems_of(content)


def test_undecodable_bytes_are_named_with_their_line() -> None:
    (problem,) = problems_of(b"[rulebook]\nname = 'x'\nversion = '\xff'")
    assert (problem.line, problem.value) == (3, "byte 0xff")


def test_a_byte_order_mark_and_windows_line_ends_are_taken() -> None:
    text = HEAD + RULE.format(id="a") + 'keywords = ["x"]\n'
    book = parse(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode(), normalise)
    assert book.digest == parse(text, normalise).digest


def test_lists_may_stand_in_files(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "words.txt").write_text("# a comment\n第一\n\n第二\r\n", "utf-8")
    (tmp_path / "rules.toml").write_text(
        HEAD + RULE.format(id="a") + 'keywords = ["第三"]\nkeywords_file = "lists/words.txt"\n', "utf-8"
    )
    assert load(tmp_path / "rules.toml", normalise).rules[0].keywords == ("第三", "第一", "第二")


def test_problems_in_a_list_name_that_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_bytes("好的\n！！\n".encode() + b"bad \xff\n")
    (tmp_path / "more.txt").write_text("！！\n很好\n", "utf-8")
    rules = "".join(RULE.format(id=n) + f'keywords_file = "{n}.txt"\n' for n in ("words", "more", "missing"))
    (tmp_path / "rules.toml").write_text(HEAD + rules, "utf-8")
    with pytest.raises(RulebookInvalid) as caught:
        load(tmp_path / "rules.toml", normalise)
    assert [(Path(p.file).name, p.line) for p in caught.value.problems] == [
        ("words.txt", 3),
        ("more.txt", 1),
        ("rules.toml", 25),
    ]


def test_a_rulebook_that_cannot_be_read_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(RulebookInvalid, match="a file that can be read"):
        load(tmp_path / "none.toml", normalise)


def test_digest_is_of_the_meaning() -> None:
    first = parse(HEAD + RULE.format(id="a") + 'keywords = ["x", "y"]\n', normalise)
    same = parse(
        "# note\n" + HEAD + "\n\n" + RULE.format(id="a") + 'keywords = ["y",\n "x"]\npriority = 0\n', normalise
    )
    other = parse(HEAD + RULE.format(id="a") + 'keywords = ["x", "z"]\n', normalise)
    assert first.digest == same.digest != other.digest
    assert len(first.digest) == 64


def test_a_bad_rulebook_leaves_the_good_one_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(HEAD + RULE.format(id="a") + 'keywords = ["x"]\n', "utf-8")
    good = load(path, normalise)
    path.write_text("[[rule]]\n", "utf-8")
    with pytest.raises(RulebookInvalid):
        load(path, normalise)
    assert [rule.id for rule in good.rules] == ["a"]


def test_validity_has_a_first_moment_and_no_last() -> None:
    rule = rule_of('keywords = ["x"]\nvalid_from = 2026-01-01T00:00:00Z\nvalid_to = 2026-01-02T00:00:00Z\n')
    assert [rule.is_valid_at(datetime(2026, 1, d, tzinfo=UTC)) for d in (1, 2)] == [True, False]
    assert not rule.is_valid_at(datetime(2025, 12, 31, 23, 59, tzinfo=UTC))


@pytest.mark.parametrize("name", ["+08:00", "-14:00", "UTC", "Asia/Shanghai"])
def test_time_zones_are_names_or_offsets(name: str) -> None:
    assert datetime(2026, 1, 1, tzinfo=time_zone(name)).utcoffset() is not None


@pytest.mark.parametrize("name", ["+15:00", "+08:60", "Asia", "../etc", "", "Nowhere/City", "+0800"])
def test_other_time_zones_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="time zone"):
        time_zone(name)


def test_shipped_rulebook_is_valid() -> None:
    book = load_shipped(normalise)
    assert len(book.rules) >= 8
    assert all(rule.reason and rule.owner for rule in book.rules)


# ---- fuzz: whatever the bytes, a rulebook or RulebookInvalid with a readable list

keys = st.sampled_from(
    [
        *(
            "id",
            "category",
            "action",
            "priority",
            "owner",
            "reason",
        ),
        *(
            "enabled",
            "valid_from",
            "keywords",
            "keywords_all",
            "keywords_none",
            "regexes",
        ),
        *(
            "domains",
            "urls",
            "numbers",
            "senders",
            "access_codes",
            "signatures",
        ),
        *(
            "hours",
            "message_category",
            "score_min",
            "score_max",
            "case",
            "normalised",
        ),
        *(
            "on",
            "keywords_file",
            "x",
            "a.b",
        ),
    ]
)
scalars = st.one_of(
    st.integers().map(str),
    st.floats().map(lambda f: f"{f!r}"),
    st.sampled_from(
        ["true", "2026-01-01", "0001-01-01", "9999-12-31T23:59:59Z", "08:00:00", '"fraud"', '"block"', "nan"]
    ),
    st.text(max_size=20).map(lambda s: '"' + re.sub(r'[\x00-\x1f\x7f"\\\ud800-\udfff]', "", s) + '"'),
    st.text(max_size=20).map(lambda s: "'''" + re.sub(r"[\x00-\x09\x0b-\x1f\x7f'\ud800-\udfff]", "", s) + "'''"),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda v: "[" + ", ".join(v) + "]"),
        st.lists(inner, max_size=4).map(lambda v: "[\n" + ",\n".join(v) + "\n]"),
        st.dictionaries(st.sampled_from("abc"), inner, max_size=2).map(
            lambda d: "{" + ", ".join(f"{k} = {v}" for k, v in d.items()) + "}"
        ),
    ),
    max_leaves=6,
)
tables = st.tuples(
    st.sampled_from(["[rulebook]", "[[rule]]", "[rule]", "[other]", "[[rule.sub]]"]),
    st.dictionaries(keys, values, max_size=8),
).map(lambda t: t[0] + "\n" + "".join(f"{k} = {v}\n" for k, v in t[1].items()))


def parse_or_problems(content: str | bytes) -> Rulebook | tuple[Problem, ...]:
    try:
        return parse(content, normalise)
    except RulebookInvalid as error:
        return error.problems


@given(st.binary(max_size=300))
def test_random_bytes_never_crash_the_reader(content: bytes) -> None:
    parse_or_problems(content)


@given(st.lists(tables, max_size=5).map("".join))
def test_random_toml_never_crashes_the_reader(content: str) -> None:
    result = parse_or_problems(HEAD + content)
    lines = (HEAD + content).count("\n") + 1
    if not isinstance(result, Rulebook):
        assert result
        assert all(0 <= p.line <= lines for p in result)


@given(st.lists(tables, max_size=5).map("".join), st.integers(0, 400), st.binary(max_size=3))
def test_a_damaged_rulebook_never_crashes_the_reader(content: str, at: int, damage: bytes) -> None:
    text = (HEAD + RULE.format(id="a") + 'keywords = ["x"]\n' + content).encode()
    parse_or_problems(text[:at] + damage + text[at + 1 :])


@pytest.mark.parametrize("text", ["x = " + "[" * 3000, 'x = "' + "\\u0041" * 10, "x = " + "9" * 5000])
def test_monstrous_toml_is_refused_like_any_other(text: str) -> None:
    assert problems_of(text)


def test_lines_are_found_in_awkward_toml() -> None:
    text = (
        'title = """\n[[rule]]\nnot = "a rule"\n"""\n'  # 1-4
        "[[ rule ]]  # comment [[rule]]\n"  # 5
        "a = [ # ] not yet\n"  # 6
        '  \'x,]\', "y\\"]",\n'  # 7
        '  """z\n""""",\n'  # 8-9
        "  [1, 2],\n"  # 10
        "]\n"  # 11
        '"b" = {c = [1], d = "}"}\n'  # 12
    )
    first, second = table_lines(text)
    assert (first.name, first.line, first.keys["title"].line) == ("", 1, 1)
    assert (second.name, second.line) == ("rule", 5)
    assert second.keys["a"].line == 6
    assert second.keys["a"].elements == [7, 7, 8, 10]
    assert second.keys["b"].line == 12
