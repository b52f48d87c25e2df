from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from lhrs_chat.errors import ConfigError, WeightsError
from lhrs_chat.models.scorer import new_score_model
from lhrs_chat.models.scorers import Judged, open_scorer, vlm
from lhrs_chat.models.scorers.vlm import VlmScorer
from tests import tiny

ROWS = [
    Judged("a port", images=(tiny.picture(1),)),
    Judged("Two ships lie at a quay, and tanks stand behind it.", "What is here?", (tiny.picture(2),)),
    Judged("Text alone is scored as well."),
    Judged("between two dates a field became a road", "What changed?", (tiny.picture(3), tiny.picture(4))),
    Judged("sea", images=(tiny.picture(5, (90, 20)),)),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base, out = tmp_path_factory.mktemp("backbone"), tmp_path_factory.mktemp("scores")
    model, processor = tiny.model_and_processor()
    model.save_pretrained(base)
    made = new_score_model(base)
    torch.nn.init.normal_(made.score.weight, generator=torch.Generator().manual_seed(1))
    made.save_pretrained(out)
    processor.save_pretrained(out)
    return out


@pytest.fixture(scope="module")
def scorer(folder: Path) -> VlmScorer:
    return VlmScorer.open(folder, "tiny")


def values(scorer: VlmScorer, rows: list[Judged]) -> list[float]:
    made = scorer.score(rows)
    assert all(score.value is not None and score.reason == "" for score in made)
    return [score.value for score in made if score.value is not None]


@pytest.mark.parametrize("tokens_at_once", [1, 200, 100_000])
def test_scores_do_not_depend_on_what_runs_beside(scorer: VlmScorer, tokens_at_once: int) -> None:
    alone = [values(scorer, [row])[0] for row in ROWS]
    assert len(set(alone)) == len(ROWS)
    grouped = VlmScorer(scorer.model, scorer.processor, name="tiny", weights_sha256="", tokens_at_once=tokens_at_once)
    assert values(grouped, ROWS) == pytest.approx(alone, abs=1e-4)
    assert values(grouped, ROWS[::-1]) == pytest.approx(alone[::-1], abs=1e-4)


def test_a_score_is_the_heads_on_the_last_token(scorer: VlmScorer) -> None:
    row = ROWS[1]
    prompt = scorer.processor.apply_chat_template(
        [
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": row.question}]},
            {"role": "assistant", "content": row.answer},
        ]
    )
    assert prompt.endswith("<|im_end|>\n")  # the published model reads the line end after the answer
    with torch.inference_mode():
        expected = scorer.model(**scorer.processor(text=[prompt], images=list(row.images))).logits.item()
    assert values(scorer, [row])[0] == pytest.approx(expected, abs=1e-5)


def test_layouts_differ_in_their_scores_and_hashes(folder: Path) -> None:
    made = {name: VlmScorer.open(folder, "tiny", layout=name) for name in ("answer", "user", "text_first")}
    assert len({scorer.prompt_sha256 for scorer in made.values()}) == 3
    assert len({values(scorer, [ROWS[1]])[0] for scorer in made.values()}) == 3
    with pytest.raises(ConfigError, match="layout"):
        VlmScorer.open(folder, "tiny", layout="anser")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (Judged("  "), "empty"),
        (Judged("a <|im_end|> in the text"), "<|im_end|>"),
        (Judged("an <image> in the text", images=(tiny.picture(1),)), "<image>"),
        (Judged("long " * 2000), "4096"),
    ],
)
def test_rows_that_cannot_be_scored_say_why(scorer: VlmScorer, row: Judged, reason: str) -> None:
    made = scorer.score([ROWS[0], row, ROWS[1]])
    assert made[1].value is None and reason in made[1].reason
    assert [score.value is None for score in made] == [False, True, False]


def test_a_score_that_is_no_number_is_no_score(folder: Path) -> None:
    broken = VlmScorer.open(folder, "tiny")
    torch.nn.init.constant_(broken.model.score.weight, math.nan)
    (made,) = broken.score(ROWS[:1])
    assert made.value is None and "nan" in made.reason


@pytest.mark.parametrize(("pack_tokens", "encoded"), [(512, 2), (1, 6)])
def test_texts_about_a_picture_share_it_and_score_as_alone(
    scorer: VlmScorer, monkeypatch: pytest.MonkeyPatch, pack_tokens: int, encoded: int
) -> None:
    first, second = tiny.picture(6), tiny.picture(7)
    rows = [Judged(text, question, (first,)) for question in ("What?", "Where?") for text in ("a port", "a sea")]
    rows += [Judged("a port", images=(second,)), Judged("a port and a ship", images=(second,))]
    alone = [
        scorer.model(**scorer.inputs([scorer.write(row)[0]], [vlm.pictures_of(row)])).logits.item() for row in rows
    ]
    assert len(set(alone)) == len(rows)
    shown = []
    see = scorer.model.model.visual_tokens
    monkeypatch.setattr(scorer.model.model, "visual_tokens", lambda pixels: (shown.append(len(pixels)), see(pixels))[1])
    monkeypatch.setattr(vlm, "PACK_TOKENS", pack_tokens)
    assert values(scorer, rows) == pytest.approx(alone, abs=1e-4)
    assert sum(shown) == encoded


def test_a_name_that_is_not_known_is_told_the_score_models() -> None:
    with pytest.raises(WeightsError, match="did you mean score-nano"):
        open_scorer("score-nanno")
