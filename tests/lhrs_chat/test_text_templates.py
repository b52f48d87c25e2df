from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from lhrs_chat.errors import DataError, GeoError
from lhrs_chat.schema import Box, Message, Part
from lhrs_chat.text.templates import render

CHATML = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou help.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TURNS = (
    Message.of("user", "What is this?", images=(0,)),
    Message.of("assistant", "A lake."),
    Message.of("user", "And this?", images=(1, 0)),
)


def tokenizer(template: str | None) -> Any:
    words = ["<unk>", "<|im_start|>", "<|im_end|>", "<image>", "user", "assistant", "What", "is", "this", "?"]
    model = models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>")
    built = Tokenizer(model)
    built.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["<|im_start|>", "<|im_end|>", "<image>"]
    made = PreTrainedTokenizerFast(
        tokenizer_object=built, unk_token="<unk>", extra_special_tokens=special, chat_template=template
    )
    return made


def test_prompt_snapshot_with_the_tokenizers_own_template() -> None:
    assert render(tokenizer(CHATML), TURNS, image_token="<image>", system="Be brief.", add_generation_prompt=True) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\n<image>\nWhat is this?<|im_end|>\n"
        "<|im_start|>assistant\nA lake.<|im_end|>\n"
        "<|im_start|>user\n<image>\n<image>\nAnd this?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_prompt_snapshot_without_a_template() -> None:
    assert render(tokenizer(None), TURNS, image_token="<image>", system="Be brief.", add_generation_prompt=True) == (
        "System: Be brief.\nUser: <image>\nWhat is this?\nAssistant: A lake.\n"
        "User: <image>\n<image>\nAnd this?\nAssistant:"
    )
    assert render(tokenizer(None), TURNS[:1], image_token="<i>", system=None, add_generation_prompt=False) == (
        "User: <i>\nWhat is this?\n"
    )


def test_the_template_speaks_for_the_system_where_nobody_else_does() -> None:
    prompt = render(tokenizer(CHATML), TURNS[:1], image_token="<image>", system=None, add_generation_prompt=False)
    assert prompt == "<|im_start|>system\nYou help.<|im_end|>\n<|im_start|>user\n<image>\nWhat is this?<|im_end|>\n"


def test_a_system_turn_of_the_conversation_wins() -> None:
    turns = (Message.of("system", "Mine."), *TURNS)
    prompt = render(tokenizer(CHATML), turns, image_token="<image>", system="Yours.", add_generation_prompt=True)
    assert prompt.startswith("<|im_start|>system\nMine.<|im_end|>\n<|im_start|>user")
    assert "Yours." not in prompt


def test_one_token_an_image_before_expansion() -> None:
    made = tokenizer(CHATML)
    ids = made(render(made, TURNS, image_token="<image>", system=None, add_generation_prompt=True)).input_ids
    assert ids.count(made.convert_tokens_to_ids("<image>")) == 3


def test_a_longer_conversation_continues_the_shorter_prompt() -> None:
    made = tokenizer(CHATML)
    asked = render(made, TURNS[:1], image_token="<image>", system=None, add_generation_prompt=True)
    assert render(made, TURNS, image_token="<image>", system=None, add_generation_prompt=True).startswith(asked)


def test_regions_are_written_in_the_dialect_and_never_in_another_frame() -> None:
    def ask(frame: Any) -> Message:
        box = Box((10.0, 20.0, 30.0, 40.0), frame)
        return Message("user", (Part("text", text="What is in "), Part("region", region=box), Part("text", text="?")))

    made = tokenizer(None)
    assert render(made, [ask("per100")], image_token="<image>") == "User: What is in [10, 20, 30, 40]?\nAssistant:"
    spoken = render(made, [ask("per100")], image_token="<image>", dialect="angles100")
    assert spoken == "User: What is in {<10><20><30><40>}?\nAssistant:"
    with pytest.raises(GeoError, match="per100"):
        render(made, [ask("pixel")], image_token="<image>")


def test_what_cannot_be_rendered() -> None:
    with pytest.raises(DataError, match="at least one message"):
        render(tokenizer(None), [], image_token="<image>")
    with pytest.raises(DataError, match="would count as an image"):
        render(tokenizer(None), [Message.of("user", "see <image> here")], image_token="<image>")


def test_text_and_metrics_load_neither_torch_nor_transformers() -> None:
    modules = ["text.templates", "text.grounding", "text.answers"]
    modules += [f"metrics.{name}" for name in ("labels", "boxes", "masks", "captions", "stats")]
    code = "import sys\n" + "".join(f"import lhrs_chat.{name}\n" for name in modules)
    code += "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'scipy', 'sklearn')))"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=root).returncode == 0
