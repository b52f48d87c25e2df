"""Chat templates: our messages through the tokenizer's own template where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lhrs_chat.schema import Message


def written(message: Message, image_token: str) -> str:
    """Write a turn as text: each image as `image_token` and a new line, then the text."""
    return "".join(f"{image_token}\n" if part.type == "image" else part.text for part in message.content)


def render(
    tokenizer: Any,
    messages: Sequence[Message],
    *,
    image_token: str,
    system: str | None,
    add_generation_prompt: bool,
) -> str:
    """Render a conversation to one prompt, before image tokens are expanded."""
    turns = [{"role": message.role, "content": written(message, image_token)} for message in messages]
    if system is not None and (not turns or turns[0]["role"] != "system"):
        turns.insert(0, {"role": "system", "content": system})
    prompt: str = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=add_generation_prompt)
    return prompt
