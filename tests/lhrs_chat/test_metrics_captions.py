from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lhrs_chat.errors import DataError
from lhrs_chat.metrics.captions import bleu, cider, rouge_l
from lhrs_chat.metrics.words import tokenize

DATA = Path(__file__).parents[1] / "data"
GOLDENS: dict[str, Any] = json.loads((DATA / "caption_goldens.json").read_text())
WORDS: dict[str, Any] = json.loads((DATA / "caption_words.json").read_text())
SETS = ["scenes", "short"]


def texts(name: str) -> tuple[list[str], list[list[str]]]:
    rows = GOLDENS[name]["rows"]
    return [row["candidate"] for row in rows], [row["references"] for row in rows]


@pytest.mark.parametrize("name", SETS)
def test_scores_equal_those_of_the_usual_tool(name: str) -> None:
    candidates, references = texts(name)
    golden = GOLDENS[name]
    assert bleu(candidates, references) == pytest.approx(golden["bleu"], abs=1e-6)
    assert rouge_l(candidates, references) == pytest.approx(golden["rouge_l_each"], abs=1e-6)
    assert rouge_l(candidates, references).mean() == pytest.approx(golden["rouge_l"], abs=1e-6)
    assert cider(candidates, references) == pytest.approx(golden["cider_d_each"], abs=1e-6)
    assert cider(candidates, references).mean() == pytest.approx(golden["cider_d"], abs=1e-6)


def test_scores_of_raw_captions_equal_those_of_the_usual_tool_with_its_own_tokenizer() -> None:
    candidates = [row["candidate"] for row in WORDS["rows"]]
    references = [row["references"] for row in WORDS["rows"]]
    assert bleu(candidates, references) == pytest.approx(WORDS["bleu"], abs=1e-6)
    assert rouge_l(candidates, references) == pytest.approx(WORDS["rouge_l_each"], abs=1e-6)
    assert cider(candidates, references) == pytest.approx(WORDS["cider_d_each"], abs=1e-6)


@pytest.mark.parametrize("row", WORDS["rows"], ids=lambda row: row["candidate"])
def test_words_equal_those_of_the_usual_tool(row: dict[str, Any]) -> None:
    assert list(tokenize(row["candidate"])) == row["candidate_words"]
    assert [list(tokenize(text)) for text in row["references"]] == row["reference_words"]


def test_bleu_by_hand() -> None:
    # 3 of 4 words, 1 of 3 pairs, nothing longer; as long as the closest reference
    scores = bleu(["a b c x"], [["a b y c", "a b"]])
    assert scores[0] == pytest.approx(3 / 4)
    assert scores[1] == pytest.approx(math.sqrt(3 / 4 * 1 / 3))
    assert scores[2] < 1e-3
    # counts are clipped to the reference, and a caption half as long pays exp(1 - 2)
    assert bleu(["a a"], [["a b c d"]])[0] == pytest.approx(0.5 * math.exp(-1))
    # of two equally near references the shorter counts: no penalty
    assert bleu(["a b c"], [["a b", "a b c d"]])[0] == pytest.approx(1.0)


def test_bleu_is_pooled_over_the_corpus_and_not_averaged() -> None:
    pooled = bleu(["a b c d e f g h", "x"], [["a b c d e f g h"], ["y"]])[0]
    assert pooled == pytest.approx(8 / 9)


def test_rouge_by_hand() -> None:
    precision, recall = 2 / 3, 2 / 4
    wanted = (1 + 1.44) * precision * recall / (recall + 1.44 * precision)
    assert rouge_l(["a x b"], [["a y b z"]]) == pytest.approx([wanted])
    assert rouge_l(["a"], [["b"]]) == pytest.approx([0.0])


def test_cider_of_one_image_and_of_the_reference_itself() -> None:
    assert cider(["a ship"], [["a ship"]]) == pytest.approx([0.0])
    pair = ["one two three four five", "six seven eight nine ten"]
    assert cider(pair, [[pair[0]], [pair[1]]]) == pytest.approx([10.0, 10.0])
    longer = cider([pair[0] + " one two three four five", pair[1]], [[pair[0]], [pair[1]]])
    assert longer[0] < 10.0


def test_empty_captions_score_nothing() -> None:
    references = [["a ship at sea"], ["a green field of grass"]]
    assert bleu(["", ""], references) == pytest.approx([0] * 4)
    assert rouge_l(["", "..."], references) == pytest.approx([0, 0])
    assert cider(["", "?"], references) == pytest.approx([0, 0])


def test_a_set_without_any_word_can_be_scored() -> None:
    assert bleu(["", "!"], [[""], ["."]]) == pytest.approx([0] * 4)
    assert cider(["", "!"], [[""], ["."]]) == pytest.approx([0, 0])
    assert rouge_l(["", "a"], [["."], [""]]) == pytest.approx([1, 0])  # as the usual tool: nothing equals nothing
    for score in (rouge_l, cider):
        assert score([], []).shape == (0,)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("A Ship, at sea.", ["a", "ship", "at", "sea"]),
        ("It isn't the ship's dock!", ["it", "is", "n't", "the", "ship", "'s", "dock"]),
        ('well-known (old) "town"', ["well-known", "-lrb-", "old", "-rrb-", "town"]),
        ("35 % of 1,234.5 m", ["35", "%", "of", "1,234.5", "m"]),
        ("the end... really -- yes; no: \u201cquoted\u201d", ["the", "end", "really", "yes", "no", "quoted"]),
        ("don\u2019t", ["do", "n't"]),
        ("", []),
        (" ... ", []),
    ],
)
def test_tokenize(text: str, tokens: list[str]) -> None:
    assert list(tokenize(text)) == tokens


@given(st.text(max_size=60))
@settings(deadline=None)
def test_any_text_can_be_split(text: str) -> None:
    words = tokenize(text)
    assert all(words)
    assert all(word == word.lower() for word in words)
    assert tokenize(" ".join(["ship", text])) == tokenize(f"ship {text}")


@pytest.mark.parametrize("text", ["<a " * 20_000, "a." * 20_000, "a" * 50_000 + "@", "1:" * 20_000, "a-" * 20_000])
def test_splitting_a_hostile_text_takes_no_quadratic_time(text: str) -> None:
    assert len("".join(tokenize(text))) <= len(text)


def words_in_common(one: list[str], other: list[str]) -> int:
    """The textbook table."""
    table = np.zeros((len(one) + 1, len(other) + 1), dtype=int)
    for i, a in enumerate(one, start=1):
        for j, b in enumerate(other, start=1):
            table[i, j] = table[i - 1, j - 1] + 1 if a == b else max(table[i - 1, j], table[i, j - 1])
    return int(table[-1, -1])


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=80), st.lists(st.sampled_from("abcd"), min_size=1))
@settings(deadline=None, max_examples=60)
def test_rouge_counts_the_longest_common_subsequence(one: list[str], other: list[str]) -> None:
    common = words_in_common(one, other)
    precision, recall = common / len(one), common / len(other)
    wanted = (1 + 1.44) * precision * recall / (recall + 1.44 * precision) if common else 0.0
    assert rouge_l([" ".join(one)], [[" ".join(other)]]) == pytest.approx([wanted])


def test_case_and_punctuation_make_no_difference() -> None:
    candidates, references = texts("scenes")
    loud = [f"{text.upper()}." for text in candidates]
    assert cider(loud, references) == pytest.approx(cider(candidates, references))
    assert bleu(loud, references) == pytest.approx(bleu(candidates, references))


@pytest.mark.parametrize(("candidates", "references"), [(["a"], []), (["a"], [[]]), (["a"], ["a ship"])])
def test_wrong_input(candidates: list[str], references: Any) -> None:
    for score in (bleu, rouge_l, cider):
        with pytest.raises(DataError):
            score(candidates, references)


SENTENCE = st.lists(st.sampled_from(["a", "b", "c", "d", "ship", "sea"]), max_size=8).map(" ".join)


@given(st.lists(st.tuples(SENTENCE, st.lists(SENTENCE, min_size=1, max_size=3)), min_size=1, max_size=5))
@settings(deadline=None)
def test_scores_stay_in_their_range_and_the_order_of_rows_does_not_matter(rows: list[tuple[str, list[str]]]) -> None:
    candidates, references = [row[0] for row in rows], [row[1] for row in rows]
    for score, top in ((bleu, 1.0), (rouge_l, 1.0), (cider, 10.0)):
        values = score(candidates, references)
        assert np.isfinite(values).all()
        assert (values >= 0).all()
        assert (values <= top + 1e-9).all()
        back = score(candidates[::-1], references[::-1])
        assert back == pytest.approx(values if score is bleu else values[::-1])
