"""The model and its processor: splice, padding, cache, saving, strict loading, the Auto classes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from peft import LoraConfig
from PIL import Image as PilImage
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from lhrs_chat.errors import DataError, WeightsError
from lhrs_chat.models import LhrsForConditionalGeneration, LhrsImageProcessor, LhrsProcessor, weights
from lhrs_chat.models.processing import place
from lhrs_chat.schema import Box
from tests import tiny

PROMPT = "<|im_start|>user\n<image>\nWhat is here?<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def parts():
    return tiny.model_and_processor()


def inputs_of(processor, prompts=PROMPT, pictures=None):
    return processor(text=prompts, images=pictures or [PilImage.fromarray(tiny.picture())], return_tensors="pt")


def test_processor_expands_each_image_token(parts):
    model, processor = parts
    inputs = inputs_of(processor)
    assert int((inputs["input_ids"] == processor.image_token_id).sum()) == model.bridge.num_tokens == 18
    assert inputs["pixel_values"].shape == (1, 3, tiny.SIZE_PX, tiny.SIZE_PX)


@torch.inference_mode()
def test_visual_tokens_stand_where_the_image_token_was(parts):
    model, processor = parts
    inputs = inputs_of(processor)
    visual = model.visual_tokens(inputs["pixel_values"])
    embedded = model.splice(inputs["input_ids"], visual)
    is_image = inputs["input_ids"][0] == processor.image_token_id
    assert torch.equal(embedded[0, is_image], visual[0])
    table = model.get_input_embeddings().weight
    assert torch.equal(embedded[0, ~is_image], table[inputs["input_ids"][0, ~is_image]])


@torch.inference_mode()
def test_the_image_changes_the_logits(parts):
    model, processor = parts
    one = model(**inputs_of(processor)).logits
    other = model(**inputs_of(processor, pictures=[tiny.picture(1)])).logits
    assert (one[0, -1] - other[0, -1]).abs().max() > 1e-3


@torch.inference_mode()
def test_left_padded_batch_equals_batch_of_one(parts):
    model, processor = parts
    prompts = [PROMPT, PROMPT.replace("What is here?", "Is there any water in this image, and where does it lie?")]
    pictures = [tiny.picture(1), tiny.picture(2)]
    together = inputs_of(processor, prompts, pictures)
    assert int(together["attention_mask"][0].sum()) < together["attention_mask"].shape[1]
    batched = model(**together).logits[:, -1]
    generated = model.generate(**together, max_new_tokens=12, do_sample=False)[:, together["input_ids"].shape[1] :]
    for row in range(2):
        alone = inputs_of(processor, prompts[row], [pictures[row]])
        assert torch.allclose(batched[row], model(**alone).logits[0, -1], atol=1e-5)
        tokens = model.generate(**alone, max_new_tokens=12, do_sample=False)[0, alone["input_ids"].shape[1] :]
        assert generated[row, : len(tokens)].tolist() == tokens.tolist()


@torch.inference_mode()
def test_cache_equals_no_cache(parts):
    model, processor = parts
    inputs = inputs_of(processor)
    with_cache = model.generate(**inputs, max_new_tokens=10, do_sample=False, use_cache=True)
    without = model.generate(**inputs, max_new_tokens=10, do_sample=False, use_cache=False)
    assert with_cache.tolist() == without.tolist()


def test_a_row_that_lost_its_image_raises(parts):
    model, processor = parts
    inputs = inputs_of(processor)
    with pytest.raises(DataError, match="18 in the text, 0 from the images"):
        model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
    with pytest.raises(DataError, match="1 <image>, but 2 images"):
        inputs_of(processor, PROMPT, [tiny.picture(), tiny.picture()])


def test_loss_reaches_bridge_and_encoder():
    model, processor = tiny.model_and_processor()
    inputs = inputs_of(processor)
    labels = inputs["input_ids"].clone()
    labels[:, :-5] = -100
    model(**inputs, labels=labels).loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.bridge.parameters())


@torch.inference_mode()
def test_saved_folder_opens_with_auto_classes_and_gives_the_same_logits(parts, tmp_path):
    model, processor = parts
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again = AutoModelForImageTextToText.from_pretrained(tmp_path).eval()
    assert isinstance(again, LhrsForConditionalGeneration)
    words = AutoProcessor.from_pretrained(tmp_path)
    assert isinstance(words, LhrsProcessor)
    assert (words.system, words.dialect, words.image_token_id) == ("Be short.", "brackets100", 259)
    inputs = inputs_of(words)
    assert torch.equal(again(**inputs).logits, model(**inputs_of(processor)).logits)
    loaded = weights.load(tmp_path)
    assert len(loaded.weights_sha256) == 64
    assert not loaded.model.training


@pytest.fixture
def folder(parts, tmp_path):
    model, processor = parts
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    return tmp_path


def damage(folder, change, name="model"):
    file = folder / f"{name}.safetensors"
    state = load_file(file)
    change(state)
    save_file(state, file, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda state: state.pop("bridge.norm.weight"), "missing: bridge.norm.weight"),
        (lambda state: state.update({"bridge.more": torch.zeros(1)}), "unexpected: bridge.more"),
        (lambda state: state.update({"bridge.norm.bias": torch.zeros(3)}), "wrong shape: bridge.norm.bias"),
    ],
)
def test_weights_that_do_not_fit_are_refused(folder, change, says):
    damage(folder, change)
    with pytest.raises(WeightsError, match=says):
        weights.load(folder)


@pytest.fixture
def adapted(folder):
    """The folder, with an adapter of PEFT beside its weights."""
    model, _ = tiny.model_and_processor()
    model.add_adapter(LoraConfig(r=2, lora_alpha=4, target_modules=r"language_model\..*\.(q|v)_proj"))
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if "lora_B" in name:
                tensor.normal_()
    model.save_pretrained(folder)
    return folder


Q_LORA = "language_model.model.layers.0.self_attn.q_proj.lora_A.weight"


@torch.inference_mode()
def test_adapter_beside_the_weights_is_loaded_with_them(parts, adapted):
    assert "lora" not in "".join(load_file(adapted / "model.safetensors"))
    inputs = inputs_of(parts[1])
    again = weights.load(adapted).model
    assert sum("lora_" in name for name, _ in again.named_parameters()) == 8
    assert (again(**inputs).logits - parts[0](**inputs).logits).abs().max() > 1e-2


@pytest.mark.parametrize("opener", [LhrsForConditionalGeneration, AutoModelForImageTextToText], ids=["ours", "auto"])
@pytest.mark.parametrize(
    ("file", "change", "says"),
    [
        ("model", lambda state: state.pop("bridge.norm.weight"), "missing: bridge.norm.weight"),
        ("model", lambda state: state.update({"bridge.more": torch.zeros(1)}), "unexpected: bridge.more"),
        ("model", lambda state: state.update({"bridge.norm.bias": torch.zeros(3)}), "wrong shape: bridge.norm.bias"),
        ("adapter_model", lambda state: state.pop(f"base_model.model.{Q_LORA}"), "missing: .*lora_A"),
        ("adapter_model", lambda state: state.update({"base_model.model.more": torch.zeros(1)}), "unexpected: .*more"),
        (
            "adapter_model",
            lambda state: state.update({f"base_model.model.{Q_LORA}": torch.zeros(2, 3)}),
            "wrong shape: .*lora_A",
        ),
    ],
)
def test_weights_and_adapter_that_do_not_fit_are_refused(adapted, opener, file, change, says):
    damage(adapted, change, file)
    with pytest.raises(WeightsError, match=says):
        opener.from_pretrained(adapted)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda folder: (folder / "adapter_model.safetensors").unlink(), "adapter_model.safetensors"),
        (lambda folder: (folder / "adapter_config.json").unlink(), "no adapter_config.json"),
        (lambda folder: (folder / "adapter_config.json").write_text("{"), "cannot open"),
        (lambda folder: (folder / "adapter_config.json").write_text("{}"), "cannot open"),
    ],
    ids=["no weights", "no description", "no json", "nothing in it"],
)
def test_half_an_adapter_is_refused(adapted, change, says):
    change(adapted)
    with pytest.raises(WeightsError, match=says):
        weights.load(adapted)


def test_truncated_and_swapped_weights_are_refused(folder):
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="damaged"):
        weights.load(folder)
    (folder / "weights.json").write_text(json.dumps({"files": {"model.safetensors": "0" * 64}}))
    file.write_bytes(whole)
    with pytest.raises(WeightsError, match="its hash is not the one"):
        weights.load(folder)


@pytest.mark.parametrize("record", ["{", "[]", "{}", "null"])
def test_broken_record_of_hashes_is_one_clear_error(folder, record):
    (folder / "weights.json").write_text(record)
    with pytest.raises(WeightsError, match=r"weights.json cannot be read"):
        weights.load(folder)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("lhrs-nan", "did you mean lhrs-nano"),
        ("./nowhere", "no such model"),
        ("owner/name", "could not be had from the Hugging Face hub"),
    ],
)
def test_unknown_model_is_one_clear_error(name, says):
    with pytest.raises(WeightsError, match=says):
        weights.locate(name)


def test_folder_without_model_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="holds no model"):
        weights.locate(str(tmp_path))


@pytest.mark.parametrize("resize", ["pad", "stretch", "crop"])
@pytest.mark.parametrize("size_px", [(40, 30), (30, 40), (64, 64), (200, 13)])
def test_what_was_done_to_the_picture_can_be_undone(resize, size_px):
    where = place(size_px, 32, resize)
    box = Box((0.4 * size_px[0], 0.45 * size_px[1], 0.6 * size_px[0], 0.55 * size_px[1]), "pixel")
    back = where.to_pixel(where.to_model(box))
    assert np.allclose(back.xyxy, box.xyxy, atol=1e-6)


def test_padded_picture_keeps_its_shape_and_its_place():
    processor = LhrsImageProcessor(32, "pad", image_mean=(0, 0, 0), image_std=(1, 1, 1))
    white = np.full((16, 64, 3), 255, dtype=np.uint8)
    pixels = processor.one(white)
    assert torch.equal(pixels[:, 12:20], torch.ones(3, 8, 32))
    assert float(pixels.sum()) == 3 * 8 * 32


def test_processor_refuses_what_is_not_rgb():
    with pytest.raises(DataError, match="uint16"):
        LhrsImageProcessor(32).one(np.zeros((4, 4, 3), dtype=np.uint16))
