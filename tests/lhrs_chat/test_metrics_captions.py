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
from lhrs_chat.metrics.captions import bleu, cider, rouge_l, tokenize

GOLDENS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "caption_goldens.json").read_text())
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


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("A Ship, at sea.", ["a", "ship", "at", "sea"]),
        ("It isn't the ship's dock!", ["it", "is", "n't", "the", "ship", "'s", "dock"]),
        ('well-known (old) "town"', ["well-known", "old", "town"]),
        ("35 % of 1,234.5 m", ["35", "%", "of", "1,234.5", "m"]),
        ("the end... really -- yes; no: \u201cquoted\u201d", ["the", "end", "really", "yes", "no", "quoted"]),
        ("don\u2019t", ["do", "n't"]),
        ("", []),
        (" ... ", []),
    ],
)
def test_tokenize(text: str, tokens: list[str]) -> None:
    assert tokenize(text) == tokens


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
