"""What a model learns from: copies keep what their originals mean, and generated messages weigh little."""

from __future__ import annotations

from collections import Counter

from mingbai.engines.screening.examples import (
    ENGLISH_MORE,
    LEGITIMATE_COPIES,
    SCENARIO_WEIGHT,
    UNWANTED_COPIES,
    Examples,
    LabelledFile,
    assemble,
)

UNWANTED = [f"You have won prize number {n}, please call our claim office today" for n in range(200)]
LEGITIMATE = [f"Shall we meet for lunch near the station on day {n} of the month" for n in range(200)]


def assembled(scenario_rows: int) -> Examples:
    labels = ["spam"] * len(UNWANTED) + ["ham"] * len(LEGITIMATE)
    return assemble([LabelledFile("a", UNWANTED + LEGITIMATE, labels)], 3, scenario_rows)


def test_a_copy_keeps_label_category_weight_and_source_of_its_original() -> None:
    examples = assembled(20)
    copies = [row for row, origin in enumerate(examples.origin) if origin != row]
    assert copies
    for row in copies:
        origin = examples.origin[row]
        assert examples.origin[origin] == origin
        for column in (examples.unwanted, examples.category, examples.weight, examples.source):
            assert column[row] == column[origin]


def test_generated_messages_weigh_less_than_corpus_messages() -> None:
    examples = assembled(20)
    for source, weight in zip(examples.source, examples.weight, strict=True):
        assert weight == (SCENARIO_WEIGHT if source.startswith("scenario:") else 1.0)


def test_corpus_messages_are_copied_more_often_than_generated_ones() -> None:
    examples = assembled(300)
    own: Counter[tuple[bool, bool]] = Counter()
    copies: Counter[tuple[bool, bool]] = Counter()
    for row, origin in enumerate(examples.origin):
        kind = (examples.source[row].startswith("scenario:"), examples.unwanted[row])
        (own if row == origin else copies)[kind] += 1
    more = sum(of_unwanted for _, _, of_unwanted, _ in ENGLISH_MORE)
    assert copies[False, True] / own[False, True] > 0.8 * (UNWANTED_COPIES / 2 + more)
    assert copies[True, True] / own[True, True] < UNWANTED_COPIES + 0.5  # Chinese ones also without punctuation
    assert copies[False, False] / own[False, False] > LEGITIMATE_COPIES


def test_the_same_seed_gives_the_same_examples_and_another_seed_others() -> None:
    again = [assembled(20) for _ in range(2)]
    assert again[0] == again[1]
    file = LabelledFile("a", UNWANTED, ["spam"] * len(UNWANTED))
    assert assemble([file], 1, 0) != assemble([file], 2, 0)
