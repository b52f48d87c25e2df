"""Ordinary code of transformers with our models: chat templates with images, and the pipeline."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PilImage
from transformers import pipeline

from lhrs_chat.errors import DataError
from lhrs_chat.models import LhrsProcessor
from lhrs_chat.models.backends import Done, Request
from lhrs_chat.models.backends.native import NativeBackend
from lhrs_chat.presets import load_preset, preset_names
from lhrs_chat.schema import Message
from lhrs_chat.text.templates import render
from tests import tiny

PICTURE = PilImage.fromarray(tiny.picture())


def turn(*parts: Any, role: str = "user") -> dict[str, Any]:
    """A message of transformers: a text for a string, an image for anything else."""
    content = [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "image": part} for part in parts
    ]
    return {"role": role, "content": content}


@pytest.fixture(scope="module")
def backend() -> NativeBackend:
    return NativeBackend("tiny", *tiny.model_and_processor())


@pytest.fixture(params=preset_names())
def processor(request: pytest.FixtureRequest) -> LhrsProcessor:
    """A small processor that speaks as a preset does; the tokenizer has a ChatML template of its own."""
    preset = load_preset(request.param)
    _, made = tiny.model_and_processor()
    made.tokenizer.chat_template = preset.chat_template or made.tokenizer.chat_template
    made.system = preset.system
    return made


def test_prompt_is_that_of_a_chat_for_every_preset(processor: LhrsProcessor) -> None:
    conversation = [turn(PICTURE, "Is there water?"), turn("Yes.", role="assistant"), turn(PICTURE, "And here?")]
    messages = [
        Message.of("user", "Is there water?", (0,)),
        Message.of("assistant", "Yes."),
        Message.of("user", "And here?", (1,)),
    ]
    wanted = render(
        processor.tokenizer,
        messages,
        image_token="<image>",
        system=processor.system,
        add_generation_prompt=True,
    )
    assert processor.apply_chat_template(conversation, add_generation_prompt=True) == wanted
    assert wanted.count("<image>") == 2
    assert wanted.count(str(processor.system)) == 1
    own = [turn("Be long.", role="system"), *conversation]
    written = processor.apply_chat_template(own, add_generation_prompt=True)
    assert "Be long." in written and str(processor.system) not in written
    inputs = processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=True, return_dict=True)
    assert inputs["input_ids"][0].tolist() == processor.encode(wanted)
    assert inputs["pixel_values"].shape[0] == 2
    assert torch.equal(processor.apply_chat_template(conversation, tokenize=True), inputs_without_opening(processor))


def inputs_without_opening(processor: LhrsProcessor) -> Any:
    conversation = [turn(PICTURE, "Is there water?"), turn("Yes.", role="assistant"), turn(PICTURE, "And here?")]
    prompt = processor.apply_chat_template(conversation)
    return processor(text=prompt, images=[PICTURE, PICTURE], return_tensors="pt")["input_ids"]


def test_conversations_come_in_batches(backend: NativeBackend) -> None:
    processor = backend.processor
    batch = [[turn(PICTURE, "Where?")], [turn(PICTURE, PICTURE, "Which of the two shows more water?")]]
    prompts = processor.apply_chat_template(batch, add_generation_prompt=True)
    assert [prompt.count("<image>") for prompt in prompts] == [1, 2]
    inputs = processor.apply_chat_template(
        batch, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    assert inputs.keys() == {"input_ids", "attention_mask", "pixel_values"}
    same = processor(text=prompts, images=[[PICTURE], [PICTURE, PICTURE]], return_tensors="pt")
    assert all(torch.equal(inputs[name], same[name]) for name in inputs)
    made = backend.model.generate(**inputs, max_new_tokens=4)
    assert made.shape == (2, inputs["input_ids"].shape[1] + 4)


@pytest.mark.parametrize("key", ["path", "url", "base64"])
def test_images_are_opened(backend: NativeBackend, tmp_path: Path, key: str) -> None:
    PICTURE.save(tmp_path / "a.png")
    packed = io.BytesIO()
    PICTURE.save(packed, "PNG")
    source = base64.b64encode(packed.getvalue()).decode() if key == "base64" else str(tmp_path / "a.png")
    given = {"role": "user", "content": [{"type": "image", key: source}, {"type": "text", "text": "What?"}]}
    found, wanted = (
        backend.processor.apply_chat_template([one], tokenize=True, return_dict=True)
        for one in (given, turn(PICTURE, "What?"))
    )
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize(
    ("conversation", "says"),
    [
        ([], "at least one message"),
        ([turn("/no/such/file.png", "What?") | {"content": [{"type": "image", "path": "/no/such.png"}]}], "opened"),
        ([{"role": "user", "content": [{"type": "video", "video": "a.mp4"}]}], "found: video"),
        ([turn(PICTURE, "What is <image>?")], "may not hold"),
        ([turn(PilImage.new("I;16", (4, 4)), "What?")], "I;16"),
    ],
    ids=["nothing", "file", "video", "token", "sixteen bits"],
)
def test_what_cannot_be_shown_is_one_clear_error(backend: NativeBackend, conversation: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        backend.processor.apply_chat_template(conversation, tokenize=True)


def test_image_that_is_not_given_is_missed(backend: NativeBackend) -> None:
    empty = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}]
    prompt = backend.processor.apply_chat_template(empty)
    assert prompt.count("<image>") == 1
    with pytest.raises(DataError, match="1 <image>, but 0 images"):
        backend.processor.apply_chat_template(empty, tokenize=True)


def test_pipeline_says_what_the_backend_says(backend: NativeBackend) -> None:
    pipe = pipeline("image-text-to-text", model=backend.model, processor=backend.processor)
    request = Request((Message.of("user", "What is here?", (0,)),), (np.asarray(PICTURE),), ("hash",), max_new_tokens=8)
    (done,) = (event for event in backend.generate([request]) if isinstance(event, Done))
    chat = [turn(PICTURE, "What is here?")]
    (said,) = pipe(text=chat, max_new_tokens=8, return_full_text=False)
    assert said["generated_text"].strip() == done.text
    (whole,) = pipe(text=chat, max_new_tokens=8)
    assert whole["generated_text"][-1] == {"role": "assistant", "content": said["generated_text"]}
    two = pipe(text=[chat, chat], max_new_tokens=8, return_full_text=False)
    assert [one[0]["generated_text"] for one in two] == [said["generated_text"]] * 2


def test_pipeline_opens_a_folder_and_goes_on_with_a_begun_answer(backend: NativeBackend, tmp_path: Path) -> None:
    backend.model.save_pretrained(tmp_path)
    backend.processor.save_pretrained(tmp_path)
    pipe = pipeline("image-text-to-text", model=str(tmp_path))
    begun = [turn(PICTURE, "What is here?"), turn("A ha", role="assistant")]
    (said,) = pipe(text=begun, max_new_tokens=8, return_full_text=False)
    prompt = backend.processor.apply_chat_template(begun, continue_final_message=True)
    assert prompt.endswith("A ha")
    inputs = backend.processor(text=prompt, images=[PICTURE])
    made = backend.model.generate(**inputs, max_new_tokens=8, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert said["generated_text"] == backend.processor.tokenizer.decode(made, skip_special_tokens=True)
    (plain,) = pipe(images=PICTURE, text="<image>\nWhat?", max_new_tokens=4)
    assert plain["generated_text"].startswith("<image>\nWhat?")
