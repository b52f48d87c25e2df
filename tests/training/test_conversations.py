"""Rows become batches: padded on the right, every picture at its tokens; what cannot be learned is refused."""

from __future__ import annotations

import dataclasses
import json
import uuid
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PilImage

from lhrs_chat import samples
from lhrs_chat.errors import DataError
from lhrs_chat.schema import Image, Message, Part
from tests import tiny
from tests.training.systems import row
from training import conversations
from training.labels import IGNORED
from training.objectives._next_token import TextObjective
from training.objectives._rows import ordered
from training.objectives.chat import chat
from training.objectives.plain import plain
from training.optimizer import choose
from training.pictures import pixels_of
from training.recipe import DataPart
from training.rows import Row, files_of, tokenised


@pytest.fixture(scope="module")
def model_and_processor():
    return tiny.model_and_processor()


@pytest.fixture
def processor(model_and_processor):
    return model_and_processor[1]


def written(folder: Path, *rows) -> DataPart:
    samples.write(folder / "rows.jsonl", rows)
    return DataPart(folder)


def rows_of(part: DataPart, processor, longest: int = 512, batch: int = 4, make=chat) -> list[Row]:
    read = tokenised(part, "train", make(processor, {2}, part), str(uuid.uuid4()), {})
    return [row for pack in ordered(read, part, longest, batch, 0) for row in pack.rows]


def test_batch_is_padded_on_the_right(learnable, model_and_processor):
    model, processor = model_and_processor
    rows = rows_of(DataPart(learnable / "talks"), processor)
    batch = conversations.collate(rows, processor)
    assert batch["input_ids"].shape == batch["labels"].shape == batch["attention_mask"].shape
    for number, each in enumerate(rows):
        assert batch["attention_mask"][number].tolist() == [1] * len(each) + [0] * (
            batch["input_ids"].shape[1] - len(each)
        )
        assert batch["input_ids"][number, : len(each)].tolist() == each.tokens.ids.tolist()
        assert (batch["labels"][number, len(each) :] == IGNORED).all()
    shown = int((batch["input_ids"] == model.config.image_token_id).sum())
    assert shown == processor.num_image_tokens * sum(len(each.files) for each in rows) > 0


def test_batch_has_the_loss_of_its_rows(learnable, model_and_processor):
    """The mean over all learned tokens, whatever the padding; a row without a picture among them."""
    model, processor = model_and_processor
    objective = TextObjective(model).eval()
    rows = rows_of(DataPart(learnable / "talks"), processor)

    def loss_of(chosen):
        made = conversations.collate(chosen, processor)
        files = [file for each in chosen for file in each.files]
        if files:
            made["pixel_values"] = pixels_of(processor.image_processor, files)
        with torch.no_grad():
            return float(objective(**made).mean()), int((made["labels"][:, 1:] != IGNORED).sum())

    loss, count = loss_of(rows)
    alone = [loss_of([each]) for each in rows]
    assert sum(number for _, number in alone) == count
    assert loss == pytest.approx(sum(mean * number for mean, number in alone) / count, abs=1e-5)
    whole = conversations.collate(rows, processor)
    pixels = pixels_of(processor.image_processor, [file for each in rows for file in each.files])
    with torch.no_grad():
        assert float(model(**whole, pixel_values=pixels).loss) == pytest.approx(loss, abs=1e-5)


def test_pictures_come_in_the_order_of_their_tokens(learnable, tmp_path, processor):
    first, second = (Image(path=str(learnable / f"{number}.png")) for number in (0, 1))
    turns = (
        Message(
            "user", (Part("text", "after"), Part("image", image=1), Part("text", "before"), Part("image", image=0))
        ),
        Message.of("assistant", "a"),
    )
    sample = dataclasses.replace(row("two", (("q", "a"),), None), images=(first, second), messages=turns)
    assert files_of(sample) == (str(learnable / "1.png"), str(learnable / "0.png"))


def test_batch_whose_image_tokens_are_missing_is_refused(learnable, model_and_processor):
    model, processor = model_and_processor
    made = rows_of(DataPart(learnable / "talks"), processor)
    chosen = next(each for each in made if each.files)
    batch = conversations.collate([chosen], processor)
    batch["input_ids"][batch["input_ids"] == model.config.image_token_id] = 5
    with pytest.raises(DataError, match="do not match"):
        TextObjective(model)(**batch, pixel_values=pixels_of(processor.image_processor, chosen.files))


def test_row_that_does_not_show_its_picture_is_refused(learnable, tmp_path, processor):
    good = row("row 7", (("q", "a"),), learnable / "0.png")
    blind = dataclasses.replace(good, messages=(Message.of("user", "q"), Message.of("assistant", "a")))
    with pytest.raises(DataError, match=r"row 7: the turns of a row show each of its pictures once(.|\n)*none"):
        rows_of(written(tmp_path, blind), processor)
    lost = dataclasses.replace(good, images=())
    with pytest.raises(DataError, match="row 7"):
        rows_of(written(tmp_path, lost), processor)


def test_sample_longer_than_the_context_is_refused(learnable, processor):
    part = DataPart(learnable / "talks")
    longest = max(len(each) for each in rows_of(part, processor))
    assert rows_of(part, processor, longest)
    with pytest.raises(DataError, match=rf"talk/1: {longest} tokens(.|\n)*allowed: {longest - 1} tokens"):
        rows_of(part, processor, longest - 1)


def test_rows_that_cannot_be_learned_are_named(learnable, tmp_path, processor):
    with pytest.raises(DataError, match=r"talk/9: a conversation to learn from ends with an answer"):
        rows_of(
            written(tmp_path, dataclasses.replace(row("talk/9", (), None), messages=(Message.of("user", "q"),))),
            processor,
        )
    with pytest.raises(DataError, match="row for the objective plain"):
        rows_of(written(tmp_path, row("text", (("q", "a"),), None)), processor, make=plain)
    with pytest.raises(DataError, match="nothing to learn from"):
        rows_of(dataclasses.replace(DataPart(learnable / "talks"), mix={"elsewhere": 1}), processor)


def test_caption_that_spells_the_image_token_is_text(learnable, tmp_path, processor):
    part = written(tmp_path, row("odd", (("q", "an <image> tag"),), learnable / "0.png"))
    (made,) = rows_of(part, processor, make=plain)
    assert (made.tokens.ids == processor.image_token_id).sum() == processor.num_image_tokens
    assert processor.tokenizer.decode(made.tokens.ids[made.tokens.learned]) == "an <image> tag\n"


def test_picture_that_cannot_be_read_is_named(tmp_path, processor):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"cannot be read(.|\n)*broken\.png"):
        pixels_of(processor.image_processor, [str(tmp_path / "broken.png")])


def test_pixels_are_those_of_the_model_s_own_processor(learnable, processor):
    file = learnable / "2.png"
    with PilImage.open(file) as picture:
        wanted = processor.image_processor([np.asarray(picture)])["pixel_values"]
    assert torch.equal(pixels_of(processor.image_processor, [str(file)]), wanted)


def test_parts_that_are_not_trained_stay_in_evaluation():
    """A frozen gate draws no noise, and a frozen encoder keeps its statistics."""
    objective = TextObjective(tiny.model_and_processor()[0])
    choose(objective, {"bridge": 1e-3})
    objective.train()
    assert objective.model.bridge.training
    assert not objective.model.encoder.training
    choose(objective, {"encoder": 1e-3, "bridge": 0, "language_model": 1e-3})
    objective.train()
    assert objective.model.encoder.training
    assert not any(module.training for module in objective.model.bridge.modules())
    assert not any(module.training for module in objective.eval().modules())


def test_mix_draws_every_other_source_by_its_star(learnable, tmp_path, processor):
    rows = [json.loads(line) for line in (learnable / "talks" / "rows.jsonl").read_text().splitlines()]
    for number, each in enumerate(rows):
        each["source"] = "named" if number == 3 else f"other{number}"
        for image in each.get("images", []):
            image["path"] = str(learnable / Path(image["path"]).name)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    part = DataPart(tmp_path, mix={"*": 2.0, "named": 1.0}, passes=2)
    drawn = [each.source for each in rows_of(part, processor)]
    assert sorted(drawn) == sorted(["named"] * 2 + [f"other{number}" for number in range(3)] * 4)
    assert drawn == [each.source for each in rows_of(part, processor)]
