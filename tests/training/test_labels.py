"""What is learned of a conversation and of a caption, against recordings of the original code."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lhrs_chat.errors import DataError
from lhrs_chat.models import LhrsImageProcessor, LhrsProcessor
from lhrs_chat.models.tokenizer_file import open_tokenizer
from lhrs_chat.presets import load_preset
from lhrs_chat.schema import Message
from tests import tiny
from training.labels import IGNORED, label_chat, label_plain

DATA = Path(__file__).parents[1] / "data"
IMAGE_ID = -200  # how the recordings mark an image


@dataclass(frozen=True)
class Recorded:
    """What the original code made of conversations, and our processor with its tokenizer and one token an image."""

    tensors: dict[str, torch.Tensor]
    conversations: dict[str, Any]
    processor: LhrsProcessor

    def turns(self, sample: str) -> list[Message]:
        made = []
        for number, (question, answer) in enumerate(self.conversations[sample]):
            asked = question.replace("<image>", "").strip()
            made += [Message.of("user", asked, images=(0,) if number == 0 else ()), Message.of("assistant", answer)]
        return made

    def tokens(self, ids: Any) -> list[str]:
        names = self.processor.tokenizer.convert_ids_to_tokens
        return ["<image>" if each == IMAGE_ID else names(int(each)) for each in ids]


def recorded(name: str, preset: str) -> Recorded:
    tokenizer = open_tokenizer(DATA / f"{name}_tiny_tokenizer")
    tokenizer.chat_template = load_preset(preset).chat_template
    processor = LhrsProcessor(LhrsImageProcessor(), tokenizer, 1, IMAGE_ID, system="You describe images.")
    meta = json.loads((DATA / f"{name}_full_tiny.json").read_text())
    return Recorded(load_file(DATA / f"{name}_full_tiny.safetensors"), meta["conversations"], processor)


@pytest.fixture
def nova() -> Recorded:
    return recorded("nova", "lhrs-bot-nova")


@pytest.fixture
def bot() -> Recorded:
    return recorded("lhrs", "lhrs-bot")


@pytest.mark.parametrize("name", ["nova", "bot"])
def test_plain_is_as_recorded(request, name):
    system: Recorded = request.getfixturevalue(name)
    made = label_plain(system.processor, system.conversations["plain"][1])
    assert made.ids.tolist() == system.tensors["plain.input_ids"].tolist()
    assert made.labels.tolist() == system.tensors["plain.labels"].tolist()
    assert made.labels[-1] != IGNORED
    assert system.processor.tokenizer.eos_token_id not in made.ids


@pytest.mark.parametrize("sample", ["sample0", "sample1"])
def test_nova_conversations_are_as_recorded(nova, sample):
    made = label_chat(nova.processor, nova.turns(sample), {319})
    assert made.ids.tolist() == nova.tensors[f"{sample}.input_ids"].tolist()
    assert made.labels.tolist() == nova.tensors[f"{sample}.labels"].tolist()


@pytest.mark.parametrize("sample", ["sample0", "sample1"])
def test_bot_conversations_are_as_recorded_but_for_the_tag_that_the_recording_cuts_early(bot, sample):
    """The original counts back two tokens, right for the real vocabulary; in the toy's one it reaches into [/INST]."""
    made = label_chat(bot.processor, bot.turns(sample), {2})
    labels = bot.tensors[f"{sample}.labels"].numpy()
    assert made.ids.tolist() == bot.tensors[f"{sample}.input_ids"].tolist()
    odd = made.labels != labels
    assert (made.labels[odd] == IGNORED).all()
    assert set(bot.tokens(labels[odd])) == {"/", "IN", "ST", "]"}
    assert odd.sum() == 4
    assert (made.labels != IGNORED).sum() == (labels != IGNORED).sum() - 4


def test_a_printed_mask_shows_the_answers_and_their_ends(nova):
    """What is learned of three turns, read by a person."""
    made = label_chat(nova.processor, nova.turns("sample1"), {319})
    shown = "".join(
        f"[{token}]" if learned else token for token, learned in zip(nova.tokens(made.ids), made.learned, strict=True)
    )
    pieces = [piece.split("<|end_header_id|>ĊĊ")[1] for piece in shown.split("assistant")[1:]]
    assert [piece.split("<|start_header_id|>")[0] for piece in pieces] == [
        "[the][Ġharbor][<|eot_id|>]",
        "[near][Ġthe][Ġbridge][<|eot_id|>]",
        "[a][Ġriver][<|eot_id|>]",
    ]
    assert sum(made.learned) == 10


def test_what_a_template_writes_behind_the_end_is_not_learned():
    processor = tiny.model_and_processor()[1]
    turns = [Message.of("user", "q", images=(0,)), Message.of("assistant", "yes")]
    made = label_chat(processor, turns, {2})
    assert processor.tokenizer.decode(made.ids[made.learned]) == "yes<|im_end|>"
    assert processor.tokenizer.decode(made.ids[-1:]) == "\n"
    assert not made.learned[-1]


def test_templates_and_turns_that_cannot_be_learned_are_refused():
    processor = tiny.model_and_processor()[1]
    asked = Message.of("user", "q")
    with pytest.raises(DataError, match="ends with an answer"):
        label_chat(processor, [asked], {2})
    with pytest.raises(DataError, match="ends with an answer"):
        label_chat(processor, [asked, Message.of("assistant", "yes"), asked], {2})
    with pytest.raises(DataError, match="does not end an answer"):
        label_chat(processor, [asked, Message.of("assistant", "yes")], {77})
    processor.tokenizer.chat_template = (
        "{% for m in messages %}{{ loop.length }}{{ m['content'] }}<|im_end|>{% endfor %}"
    )
    with pytest.raises(DataError, match="writes it otherwise when more turns follow"):
        label_chat(processor, [asked, Message.of("assistant", "a"), asked, Message.of("assistant", "b")], {2})
