"""The objective `reward`: shared beginnings change no score, the loss is that of the order, a stage goes on."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from PIL import Image as PilImage
from safetensors.torch import load_file
from torch.nn import functional

from lhrs_chat import samples
from lhrs_chat.errors import DataError
from lhrs_chat.models.scorers import Judged
from lhrs_chat.models.scorers.shipped import HEAD_FILE
from lhrs_chat.models.scorers.vlm import VlmScorer
from lhrs_chat.schema import Sample
from tests import tiny
from tests.training.systems import row
from training import curriculum, loop
from training.export import export_model
from training.journal import read_journal
from training.objectives import reward
from training.packing import collate
from training.pictures import pixels_of
from training.preferences import PairTally, rejected
from training.recipe import load_recipe

STEPS = 20
GOOD = ("a river", "the harbor", "a bridge and a river", "the image")


def pairs(files: list[Path], split: str = "train") -> list[Sample]:
    """Rows whose worse texts always speak of a ship."""
    made = []
    for number, (file, good) in enumerate(zip([*files, *files], [*GOOD, *GOOD], strict=False)):
        one = row(f"{split}/{number}", (("describe" if number % 2 else "", good),), file)
        worse = ["a ship", "a ship and a ship"] if number == 1 else ["a ship and a river"]
        meta = {"rejected": worse, "error": "swapped_object" if number % 3 else "verbose"}
        made.append(dataclasses.replace(one, task="preference", split=split, scene_id=f"{split}{number}", meta=meta))
    return made


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    (folder / "pairs").mkdir()
    files = []
    for number in range(6):
        files.append(folder / f"{number}.png")
        PilImage.fromarray(tiny.picture(number, (40, 30 + number))).save(files[-1])
    samples.write(folder / "pairs" / "rows.jsonl", [*pairs(files[:4]), *pairs(files[4:], "val")])
    return folder / "pairs"


@pytest.fixture(scope="module")
def text_data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("text_pairs")
    rows = [
        dataclasses.replace(
            row(f"text/{number}", (("the bridge", good),), None),
            task="preference",
            scene_id=f"text{number}",
            meta={"rejected": ["a ship"]},
        )
        for number, good in enumerate(GOOD)
    ]
    samples.write(folder / "rows.jsonl", rows)
    return folder


def objective_and_rows(folder: Path, together: int):
    model, processor = tiny.model_and_processor()
    groups = reward.ranked([one for one in samples.read(folder) if one.split == "train"], processor, together)
    torch.manual_seed(0)
    return reward.RewardObjective(reward.put_head(model, None), PairTally(("x",))).eval(), processor, groups


def scores_of(objective, processor, groups) -> dict[str, list[float]]:
    batch = vars(collate([one.pack for one in groups], processor.tokenizer.pad_token_id))
    pixels = pixels_of(processor.image_processor, [file for one in groups for file in one.files])
    with torch.no_grad():
        found = objective.scores(**batch, pixel_values=pixels).tolist()
    sizes = [(name, size) for one in groups for name, size in zip(one.ids, one.sizes, strict=True)]
    return {name: [found.pop(0) for _ in range(size)] for name, size in sizes}


def test_a_text_has_the_score_that_a_score_model_gives_it(data):
    objective, processor, groups = objective_and_rows(data, 3)
    assert [len(one.ids) for one in groups] != [1] * len(groups)
    found = scores_of(objective, processor, groups)
    model = reward.put_head(objective.model, None)
    model.score = objective.score
    scorer = VlmScorer(model, processor, name="tiny", weights_sha256="")
    for one in samples.read(data):
        if one.split == "train":
            picture = tiny.picture(int(Path(one.images[0].path).stem), (40, 30 + int(Path(one.images[0].path).stem)))
            texts = [one.messages[-1].text, *rejected(one)]
            said = [Judged(text, one.messages[0].text, (picture,)) for text in texts]
            assert [score.value for score in scorer.score(said)] == pytest.approx(found[one.id], abs=1e-4)


def test_groups_do_not_change_scores(data):
    alone = objective_and_rows(data, 1)
    together = objective_and_rows(data, 8)
    assert len(alone[2]) > len(together[2])
    ones, others = scores_of(*alone), scores_of(*together)
    assert ones.keys() == others.keys()
    for name, values in ones.items():
        assert values == pytest.approx(others[name], abs=1e-4)


def test_the_loss_is_that_of_the_order():
    class Given(reward.RewardObjective):
        def __init__(self, scores):
            torch.nn.Module.__init__(self)
            self.given, self.tally = scores, PairTally(("a", "b"))

        def train(self, mode=True):
            return torch.nn.Module.train(self, mode)

        def scores(self, **inputs):
            return self.given

    given = torch.tensor([1.0, 0.5, 3.0, 2.0, 1.0, 0.0, 0.0], requires_grad=True)
    objective = Given(given).eval()
    losses = objective(torch.tensor([2, 3, 2]), torch.tensor([0, 1, 1]))
    three = -functional.log_softmax(torch.tensor([3.0, 2.0, 1.0]), 0)[0] - functional.logsigmoid(torch.tensor(1.0))
    assert losses.tolist() == pytest.approx(
        [float(-functional.logsigmoid(torch.tensor(0.5))), float(three), math.log(2)]
    )
    losses.sum().backward()
    assert given.grad is not None and (given.grad != 0).all()
    told = objective.tally.read()
    assert told["pair_accuracy"] == pytest.approx(3.5 / 4)
    assert told["pair_accuracy_a"] == 1.0 and told["pair_ties_b"] == pytest.approx(1 / 3)
    assert told["pair_margin"] == pytest.approx((0.5 + 1 + 2 + 0) / 4)
    assert objective.tally.read() == {}


def test_a_row_without_worse_texts_is_refused(data):
    (one, *_) = samples.read(data)
    for meta in ({}, {"rejected": []}, {"rejected": [" "]}, {"rejected": "a ship"}):
        with pytest.raises(DataError, match="worse texts"):
            rejected(dataclasses.replace(one, meta=meta))


SMALL = ("optim.precision=fp32", f"optim.max_steps={STEPS}", "data.passes=40", "log_steps=1", "save_steps=20",
         "optim.batch_images=2", "optim.accumulate=1", "optim.warmup_steps=0")  # fmt: skip


def test_score_nano_learns_and_becomes_a_folder(data, tmp_path, tiny_parts):
    more = ("optim.compile=false", f"data.folder={data}", f"out={tmp_path / 'run'}", "eval_steps=10")
    rates = "optim.lr=" + json.dumps({"lora": 1e-2, "score": 1e-2})
    recipe = load_recipe("score_nano", [*SMALL, *more, rates, "optim.schedule=constant", 'data.mix={"*": 1}'])
    logged = read_journal(loop.run(recipe))
    losses = [entry["loss"] for entry in logged if "loss" in entry]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    evaluations = [entry for entry in logged if "eval_loss" in entry]
    assert evaluations[-1]["eval_pair_accuracy"] == 1.0
    assert {"eval_pair_margin", "eval_pair_ties", "eval_pair_accuracy_verbose"} <= evaluations[-1].keys()
    assert (tmp_path / "run" / HEAD_FILE).is_file()


def test_stages_take_over_what_was_learned(data, text_data, tmp_path, tiny_model):
    """Head; encoder, bridge and head; all, with an adapter: twenty steps each, then a folder that scores."""
    rates = [{"score": 1e-2}, {"encoder": 1e-4, "bridge": 1e-3, "score": 1e-2},
             {"encoder": 1e-4, "bridge": 1e-3, "lora": 1e-2, "score": 1e-2}]  # fmt: skip
    recipes = curriculum.load(
        "reward",
        [
            *SMALL,
            f"out={tmp_path}",
            f"model={tiny_model}",
            "optim.min_lr=0",
            f"reward_stage1.data.folder={text_data}",
            f"reward_stage2.data.folder={data}",
            f"reward_stage3.data.folder={data}",
            'reward_stage3.lora={"rank": 2, "alpha": 4}',
            *(f"reward_stage{number}.optim.lr={json.dumps(rate)}" for number, rate in enumerate(rates, 1)),
        ],
    )
    for recipe in recipes:
        losses = [entry["loss"] for entry in read_journal(loop.run(recipe)) if "loss" in entry]
        assert len(losses) == STEPS and all(map(math.isfinite, losses))
    heads = [load_file(recipe.out / HEAD_FILE)["weight"] for recipe in recipes]
    assert not torch.equal(heads[0], heads[1])
    folder = export_model(recipes[-1].out, tmp_path / "model")
    scorer = VlmScorer.open(folder, "tiny")
    picture = tiny.picture(0, (40, 30))
    better, worse = scorer.score([Judged("a river", images=(picture,)), Judged("a ship and a ship", images=(picture,))])
    assert better.value is not None and worse.value is not None and better.value > worse.value
