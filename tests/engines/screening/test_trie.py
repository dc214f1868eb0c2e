"""The keyword matcher: compared with its plain definition, and with an Aho-Corasick automaton by somebody else."""

from __future__ import annotations

import pickle
import random

import ahocorasick
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingbai.engines.screening.trie import (
    MAX_KEYWORD_NIDS,
    KeywordMatcher,
    compile_keywords,
    find_all,
    find_all_reference,
)
from mingbai.kernel.errors import BadValue

# Few letters, so that keywords share prefixes and texts hit them; some from far apart in the 16 bits.
letters = st.sampled_from([1, 2, 0x30, 0x31, 0x4E2D, 0x6587, 0xFFFF])
keywords = st.lists(st.lists(letters, min_size=1, max_size=MAX_KEYWORD_NIDS).map(tuple), max_size=30, unique=True)


def find(matcher: KeywordMatcher, text: list[int]) -> list[tuple[int, int, int]]:
    return [tuple(hit) for hit in find_all(matcher, text).tolist()]


@given(keywords, st.lists(letters, max_size=120))
def test_finds_what_the_definition_finds(words: list[tuple[int, ...]], text: list[int]) -> None:
    matcher, ids = compile_keywords(words)
    expected = [(int(ids[k]), start, end) for k, start, end in find_all_reference(words, text)]
    assert find(matcher, text) == expected


@given(st.integers(1, MAX_KEYWORD_NIDS), st.integers(0, 200), st.booleans())
def test_repeated_prefixes_are_found_and_bounded(length: int, size: int, with_end: bool) -> None:
    """The worst text: every keyword is a prefix of the next, and the text repeats them."""
    words = [(7,) * n for n in range(1, length + 1)]
    text = [7] * size + ([8] if with_end else [])
    matcher, ids = compile_keywords(words)
    hits = find(matcher, text)
    assert hits == [(int(ids[k]), a, b) for k, a, b in find_all_reference(words, text)]
    assert len(hits) <= MAX_KEYWORD_NIDS * len(text)


def test_agrees_with_pyahocorasick_on_many_keywords() -> None:
    rng = random.Random(5)
    alphabet = [chr(c) for c in range(0x4E00, 0x4E00 + 120)]
    words = sorted({"".join(rng.choices(alphabet, k=rng.randint(1, 6))) for _ in range(10_000)})
    automaton = ahocorasick.Automaton()
    for word in words:
        automaton.add_word(word, word)
    automaton.make_automaton()
    matcher, ids = compile_keywords([[ord(c) for c in word] for word in words])
    number = {word: int(ids[i]) for i, word in enumerate(words)}
    for _ in range(50):
        text = "".join(rng.choices(alphabet, k=200))
        theirs = {(number[word], end + 1 - len(word), end + 1) for end, word in automaton.iter(text)}
        assert set(find(matcher, [ord(c) for c in text])) == theirs


def test_equal_keywords_share_an_id() -> None:
    matcher, ids = compile_keywords([[5, 6, 7], [1], [5, 6, 7]])
    assert matcher.count == 2
    assert ids[0] == ids[2] != ids[1]


def test_no_keywords_match_nothing() -> None:
    matcher, ids = compile_keywords([])
    assert matcher.count == 0
    assert len(ids) == 0
    assert find(matcher, [1, 2, 3]) == []


def test_more_hits_than_the_first_try_has_room_for_are_all_found() -> None:
    matcher, _ = compile_keywords([[1], [1, 1], [1, 1, 1]])
    assert len(find(matcher, [1] * 1000)) == 1000 + 999 + 998


@pytest.mark.parametrize("bad", [[], [1] * (MAX_KEYWORD_NIDS + 1), [0], [0x10000]])
def test_a_keyword_that_cannot_be_matched_is_refused(bad: list[int]) -> None:
    with pytest.raises(BadValue):
        compile_keywords([[1, 2], bad])


def test_pickling_keeps_the_arrays_read_only() -> None:
    """Writable arrays would be another type to numba, and every kernel would be compiled again."""
    matcher, _ = compile_keywords([[1, 2, 3], [4]])
    copy: KeywordMatcher = pickle.loads(pickle.dumps(matcher))
    for name in matcher.arrays._fields:
        assert not getattr(copy.arrays, name).flags.writeable
        assert np.array_equal(getattr(copy.arrays, name), getattr(matcher.arrays, name))
    assert find(copy, [4, 1, 2, 3]) == find(matcher, [4, 1, 2, 3])
