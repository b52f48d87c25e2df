"""Answers that are judged: twenty steps through TRL, and a reward that rises."""

from __future__ import annotations

import json
import math
import string
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PilImage

from lhrs_chat import cli, samples
from lhrs_chat.errors import ConfigError
from lhrs_chat.models.scorer import with_head
from lhrs_chat.models.scorers import Judged as ScoredRow
from lhrs_chat.models.scorers import open_scorer
from lhrs_chat.models.scorers.layouts import TRAINED_WITH
from lhrs_chat.schema import Image, Message, Sample
from tests import tiny
from tests.training.foreign_models import WRITERS
from training import loop, rewards
from training.journal import read_journal
from training.recipe import Recipe, load_recipe
from training.rewards import Wanted, exact, score

STEPS = 20


def many_letters(answers: list[str], wanted: list[Wanted]) -> list[float]:
    """An easy task: the share of small letters in an answer."""
    return [sum(letter in string.ascii_lowercase for letter in answer) / len(answer) for answer in answers]


@pytest.fixture
def easy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "REWARD", rewards.Reward(lambda _: many_letters))


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("questions")
    rows = []
    for number in range(6):
        PilImage.fromarray(tiny.picture(number, (40, 30))).save(folder / f"{number}.png")
        turns = (Message.of("user", "what?", images=(0,)), Message.of("assistant", "a river"))
        image = Image(path=f"{number}.png", size_px=(40, 30))
        rows.append(Sample(f"q/{number}", (image,), "what", "made", "CC0", f"s{number}", turns))
    samples.write(folder / "rows.jsonl", rows)
    return folder


def recipe(kind: str, data: Path, out: Path, *more: str) -> Recipe:
    model = WRITERS[kind](out.parent / kind)
    small = (
        *("optim.precision=fp32", "optim.gradient_checkpointing=false", "optim.batch_images=8", "optim.accumulate=1"),
        *("grpo.group=4", "grpo.longest_answer=8", "grpo.form=free", "log_steps=1", "save_steps=10", "lora.rank=4"),
        *(f"optim.max_steps={STEPS}", f"model={model}", f"data.folder={data}", f"out={out}", "grpo.beta=0"),
        *('optim.lr={"lora": 3e-3}', "optim.warmup_share=0"),
    )
    return load_recipe("grpo", [*small, *more])


@pytest.mark.parametrize("kind", sorted(WRITERS))
def test_a_few_steps_and_the_folder_answers(kind, data, tmp_path, capsys):
    made = recipe(kind, data, tmp_path / "run", "optim.max_steps=2")
    loop.run(made)
    lines = read_journal(made.out)
    assert len(lines) == 2 and all(0 <= line["reward"] <= 1 for line in lines)
    assert json.loads((made.out / "finished.json").read_text())["steps"] == 2
    assert cli.main(["ask", str(data / "0.png"), "what?", "--model", str(made.out)]) == 0


@pytest.fixture(scope="module")
def score_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A score model of our own kind, tiny, with a head that tells texts apart."""
    folder = tmp_path_factory.mktemp("scorer")
    model, processor = tiny.model_and_processor()
    made = with_head(model, layout=TRAINED_WITH)
    torch.nn.init.normal_(made.score.weight, std=0.5, generator=torch.Generator().manual_seed(0))
    made.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def test_a_score_model_rewards(score_model, data, tmp_path, monkeypatch):
    calls = []
    real = score.Better.__call__

    def watched(self, answers, wanted):
        values = real(self, answers, wanted)
        calls.append((list(answers), list(wanted), values))
        return values

    monkeypatch.setattr(score.Better, "__call__", watched)
    more = ("optim.max_steps=2", 'grpo.rewards={"*": "score"}', f"grpo.scorer={score_model}")
    made = recipe("qwen2_vl", data, tmp_path / "run", *more)
    loop.run(made)
    scorer = open_scorer(str(score_model))

    def value(text: str, truth: Wanted) -> float:
        picture = np.asarray(PilImage.open(truth.files[0]).convert("RGB"))
        (found,) = scorer.score([ScoredRow(text, truth.question, (picture,))])
        assert found.value is not None
        return found.value

    lines = read_journal(made.out)
    assert len(lines) == len(calls) == 2
    every = []
    for line, (answers, wanted, values) in zip(lines, calls, strict=True):
        gaps = [value(said, truth) - value(truth.answer, truth) for said, truth in zip(answers, wanted, strict=True)]
        assert values == pytest.approx([1 - math.exp(-0.2 * gap) if gap > 0 else 0.0 for gap in gaps], abs=1e-4)
        assert line["reward"] == pytest.approx(sum(0.3 + 0.7 * worth for worth in values) / 8, abs=1e-5)
        every += values
    assert min(every) == 0.0 < max(every) and len(set(every)) > 3
    shown = {truth.id for _, wanted, _ in calls for truth in wanted}
    assert len(score.kept_by(scorer).scores) == len(shown), "a later run takes them over"


@pytest.mark.slow
def test_twenty_steps_raise_an_easy_reward(easy, data, tmp_path):
    made = recipe("llava", data, tmp_path / "run", "optim.max_steps=60", "optim.batch_images=16", "grpo.group=8")
    loop.run(made)
    got = [line["reward"] for line in read_journal(made.out)]
    assert len(got) == 60
    assert np.mean(got[-10:]) > np.mean(got[:10]) + 0.1


def test_groups_that_do_not_fit_a_step_are_refused(data, tmp_path):
    with pytest.raises(ConfigError, match="whole groups"):
        loop.run(recipe("llava", data, tmp_path / "run", "grpo.group=3"))


def test_a_task_without_a_reward_is_named(data, tmp_path):
    with pytest.raises(ConfigError, match="tasks without a reward"):
        loop.run(recipe("llava", data, tmp_path / "run", 'grpo.rewards={"count": "numeric"}'))
