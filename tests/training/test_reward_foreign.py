"""The objective `reward` on models of transformers that are not ours: what is learned is what is scored."""

from __future__ import annotations

import dataclasses
import gc
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from PIL import Image as PilImage
from safetensors.torch import load_file
from torch.nn import functional

from lhrs_chat import samples, scoring
from lhrs_chat.errors import ConfigError, DataError
from lhrs_chat.models.backends.transformers import TransformersBackend
from lhrs_chat.models.scorer import is_score_model, load_score_model
from lhrs_chat.models.scorers import Judged, open_scorer
from lhrs_chat.models.scorers.vlm import VlmScorer, pictures_of
from tests import tiny
from tests.training.foreign_models import WRITERS, write_qwen2_5
from tests.training.systems import row
from training import curriculum, loop
from training.export import export_model
from training.foreign import part_of
from training.journal import read_journal
from training.objectives import OBJECTIVES
from training.preferences import rejected
from training.recipe import Recipe, load_recipe

KINDS = {**WRITERS, "qwen2_5_vl": write_qwen2_5}
STEPS = 12
TEXTS = (
    ("what is here?", "a river", ("a ship",)),
    ("", "a bridge over a river", ("a bridge", "a ship and a ship")),
    ("how many?", "two", ("four",)),
    ("", "sand", ("a harbor with many ships",)),
)
SMALL = (
    *("optim.precision=fp32", "optim.accumulate=1", "optim.batch_images=2", f"optim.max_steps={STEPS}"),
    *("optim.warmup_steps=0", "optim.min_lr=0", "optim.weight_decay=0", "data.passes=30", "log_steps=1"),
)
RATES = (
    {"score": 1e-2},
    {"encoder": 1e-3, "bridge": 1e-3, "score": 1e-2},
    {"encoder": 1e-4, "bridge": 1e-4, "lora": 1e-2, "score": 5e-2},
)


@pytest.fixture(scope="module", autouse=True)
def _only_new_objects_are_collected() -> Iterator[None]:
    """Every run ends with a collection, which would go through all that was imported."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def backbones(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("backbones")
    return {name: write(folder / name) for name, write in KINDS.items()}


@pytest.fixture(params=sorted(KINDS))
def backbone(request, backbones) -> Path:
    return backbones[request.param]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Rows about one picture, about two of other sizes, and about none; one is held out."""
    folder = tmp_path_factory.mktemp("pairs")
    (folder / "pairs").mkdir()
    sizes = [(40, 30), (24, 44), (1100, 24), (32, 32)]
    files = [folder / f"{number}.png" for number in range(4)]
    for number, (file, size) in enumerate(zip(files, sizes, strict=True)):
        PilImage.fromarray(tiny.picture(number, size)).save(file)
    shown = [files[:1], files[1:3], [], files[3:]]
    made = []
    for number, ((question, good, bad), of) in enumerate(zip(TEXTS, shown, strict=True)):
        one = row(f"row/{number}", ((question, good),), None)
        first = dataclasses.replace(one.messages[0], content=(*_shown(len(of)), *one.messages[0].content))
        images = tuple(dataclasses.replace(IMAGE, path=f"../{file.name}") for file in of)
        meta = {"rejected": list(bad), "error": "wrong_count" if number % 2 else "swapped_object"}
        split = "val" if number == 3 else "train"
        made.append(
            replace(one, task="preference", split=split, images=images, messages=(first, one.messages[1]), meta=meta)
        )
    samples.write(folder / "pairs" / "rows.jsonl", made)
    return folder / "pairs"


IMAGE = row("any", (("", "x"),), Path("0.png")).images[0]


def _shown(count: int) -> tuple:
    message = row("any", (("", "x"),), Path("0.png")).messages[0]
    part = next(part for part in message.content if part.type == "image")
    return tuple(dataclasses.replace(part, image=number) for number in range(count))


def recipe(model: Path, data: Path, out: Path, stage: int = 1, *more: str) -> Recipe:
    own = (f"model={model}", f"data.folder={data}", f"out={out}", f"optim.lr={json.dumps(RATES[stage - 1])}")
    lora = ('lora={"rank": 4, "alpha": 8}',) if stage == 3 else ()
    return load_recipe(f"reward_stage{stage}", [*SMALL, *own, *lora, "start=null", *more])


def texts_of(data: Path, dialect: str, split: str = "train") -> dict[str, list[Judged]]:
    """What the scorer is asked of each row, the best text first."""
    found = {}
    for one in samples.read(data):
        if one.split == split:
            best = scoring.judged(one, dialect, {})
            found[one.id] = [best, *(replace(best, answer=worse) for worse in rejected(one))]
    return found


def scores_of(scorer: VlmScorer, texts: list[Judged]) -> list[float]:
    made = [score.value for score in scorer.score(texts)]
    assert None not in made
    return made


def plackett_luce(scores: list[float]) -> float:
    """Choose the best of all, then the best of those that are left."""
    values = torch.tensor(scores, dtype=torch.float64)
    return -sum(float(functional.log_softmax(values[first:], 0)[0]) for first in range(len(values)))


def distinct(stage) -> list:
    return list({one.ids: one for one in stage.rows}.values())


def test_a_batch_holds_what_the_scorer_reads_and_its_loss_is_that_of_the_scores(backbone, data, tmp_path):
    torch.manual_seed(9)
    stage = OBJECTIVES.get("reward").begin(recipe(backbone, data, tmp_path))
    torch.nn.init.normal_(stage.module.model.score.weight, std=0.05)
    stage.module.eval()
    stage.module.model.save_pretrained(tmp_path / "saved")
    KINDS[stage.module.model.config.model_type](tmp_path / "again")
    for file in (tmp_path / "again").iterdir():
        if file.name not in ("config.json", "model.safetensors"):
            file.rename(tmp_path / "saved" / file.name)
    scorer = VlmScorer.open(tmp_path / "saved", "saved")
    wanted = texts_of(data, scorer.dialect)
    rows = distinct(stage)
    assert {one.ids[0] for one in rows} == set(wanted) and len(rows) == 3
    batch = stage.batch(rows)
    told = batch.pop("told")
    ids, mask = batch["inputs"]["input_ids"], batch["inputs"]["attention_mask"]
    seen = [found[kept.bool()].tolist() for found, kept in zip(ids, mask, strict=True)]
    asked = [text for one in rows for text in wanted[one.ids[0]]]
    alone = [scorer.inputs([scorer.write(text)[0]], [pictures_of(text)]) for text in asked]
    assert seen == [one["input_ids"][0].tolist() for one in alone]
    assert sum(map(len, seen)) == told.tokens == sum(map(len, rows))
    pixels = torch.cat([one["pixel_values"] for one in alone if "pixel_values" in one])
    assert torch.equal(batch["inputs"]["pixel_values"], pixels)
    with torch.no_grad():
        losses = stage.module(**batch).tolist()
    by_hand = [plackett_luce(scores_of(scorer, wanted[one.ids[0]])) for one in rows]
    assert losses == pytest.approx(by_hand, abs=1e-5)
    assert len({round(loss, 3) for loss in losses}) == 3 and min(losses) > 0.01
    groups = [scores_of(scorer, wanted[one.ids[0]]) for one in rows]
    right = [best > worse for best, *rest in groups for worse in rest]
    assert stage.measure()["pair_accuracy"] == pytest.approx(sum(right) / len(right))


def held(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a folder, by their names in a score model."""
    if is_score_model(folder):
        return load_score_model(folder).state_dict()
    return {f"model.{name}": t for name, t in TransformersBackend.open(folder, "x").model.model.state_dict().items()}


def test_three_stages_leave_a_folder_that_scores_as_the_model_did(backbone, data, tmp_path):
    """Head; encoder, bridge and head; all, with an adapter: every stage opens what the one before it left."""
    steps = (2, 2, STEPS)
    recipes = curriculum.load(
        "reward",
        [
            *SMALL,
            *(f"out={tmp_path}", f"model={backbone}", f"data.folder={data}", "reward_stage1.eval_steps=2"),
            'reward_stage3.lora={"rank": 4, "alpha": 8}',
            *(f"reward_stage{number}.optim.lr={json.dumps(rate)}" for number, rate in enumerate(RATES, 1)),
            *(f"reward_stage{number}.optim.max_steps={count}" for number, count in enumerate(steps, 1)),
        ],
    )
    before, changed = held(backbone), []
    for made in recipes:
        stage = OBJECTIVES.get("reward").begin(made)
        logged = loop.fit(made, stage)
        after = held(made.out)
        assert after["score.weight"].dtype == torch.float32
        fresh = {name for name, tensor in after.items() if name not in before or not torch.equal(tensor, before[name])}
        changed.append({"score" if name == "score.weight" else part_of(name) for name in fresh})
        before = after
        if made is recipes[0]:
            assert {"eval_pair_accuracy", "eval_pair_accuracy_wrong_count"} <= set().union(*logged)
            assert json.loads((made.out / "config.json").read_text())["position_mode"] == "mrope"
    assert changed == [{"score"}, {"encoder", "bridge", "score"}, {"encoder", "bridge", "language_model", "score"}]
    scorer = open_scorer(str(recipes[-1].out))
    memory = VlmScorer(stage.module.model, scorer.processor, name="memory", weights_sha256="")
    for texts in texts_of(data, scorer.dialect).values():
        scores = scores_of(scorer, texts)
        assert scores == pytest.approx(scores_of(memory, texts), abs=1e-5)
        assert all(worse < better - 0.5 for better, worse in pairwise(scores))


def test_a_run_that_was_stopped_goes_on_exactly(backbones, data, tmp_path):
    lora = ('lora={"rank": 4, "alpha": 8, "dropout": 0.1}', "optim.max_steps=4", "optim.accumulate=2")
    whole = recipe(backbones["qwen3_vl"], data, tmp_path / "whole", 3, *lora)
    loop.run(whole)
    parts = replace(whole, out=tmp_path / "parts")
    loop.run(replace(parts, optim=replace(parts.optim, stop_step=2)))
    loop.run(parts)
    one, other = (load_file(run.out / "model.safetensors") for run in (whole, parts))
    assert one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    assert len(read_journal(parts.out)) == 4


def test_an_export_is_half_as_large_and_its_head_is_not(backbones, data, tmp_path):
    made = recipe(backbones["llava"], data, tmp_path / "run", 1, "optim.max_steps=1")
    loop.run(made)
    folder = export_model(made.out, tmp_path / "model", torch.bfloat16)
    tensors = load_file(folder / "model.safetensors")
    assert {name for name, tensor in tensors.items() if tensor.dtype != torch.bfloat16} == {"score.weight"}
    assert torch.equal(tensors["score.weight"], load_file(made.out / "model.safetensors")["score.weight"])
    card = (folder / "README.md").read_text()
    assert "a score model on" in card and "lhrs-chat score DATA" in card and "lhrs-chat ask" not in card
    (texts, *_) = texts_of(data, "brackets1").values()
    scores = scores_of(open_scorer(str(made.out)), texts)
    assert scores_of(open_scorer(str(folder)), texts) == pytest.approx(scores, abs=0.05)


def test_half_precision_holds_what_is_learned_in_full(backbones, data, tmp_path):
    more = ("optim.precision=bf16", "optim.max_steps=2", "optim.gradient_checkpointing=true")
    stage = OBJECTIVES.get("reward").begin(recipe(backbones["qwen2_5_vl"], data, tmp_path, 3, *more))
    kinds = {tensor.dtype: {True: [], False: []} for tensor in stage.module.parameters()}
    for name, tensor in stage.module.named_parameters():
        kinds[tensor.dtype][tensor.requires_grad].append(name)
    assert kinds.keys() == {torch.float32, torch.bfloat16}
    assert not kinds[torch.float32][False] and not kinds[torch.bfloat16][True]
    losses = [entry["loss"] for entry in loop.fit(recipe(backbones["qwen2_5_vl"], data, tmp_path, 3, *more), stage)]
    assert len(losses) == 2 and all(loss == loss for loss in losses)


def test_what_such_a_model_does_not_have_is_refused(backbones, data, tmp_path):
    for more in ("optim.compile=true", "lora=continue", "quantise=4bit"):
        with pytest.raises(ConfigError, match="of our own"):
            extra = ('lora={"rank": 4}',) if "quantise" in more else ()
            OBJECTIVES.get("reward").begin(recipe(backbones["llava"], data, tmp_path, 1, *extra, more))


def test_a_row_that_cannot_be_scored_is_named(backbones, data, tmp_path):
    (one, *_) = samples.read(data)
    path = str((data / one.images[0].path).resolve())
    bad = replace(one, images=(replace(one.images[0], path=path),), meta={"rejected": ["a <image> here"]})
    samples.write(tmp_path / "rows.jsonl", [bad])
    with pytest.raises(DataError, match=r"row/0.*sign of the model"):
        OBJECTIVES.get("reward").begin(recipe(backbones["llava"], tmp_path, tmp_path / "run"))
