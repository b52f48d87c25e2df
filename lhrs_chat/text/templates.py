"""Turn a conversation into the prompt of a model, through the tokenizer's own chat template where it has one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from lhrs_chat.errors import DataError, GeoError
from lhrs_chat.schema import Message, Part
from lhrs_chat.text import grounding


class ChatTokenizer(Protocol):
    """What is asked of a tokenizer; every tokenizer of transformers is one."""

    chat_template: Any

    def apply_chat_template(
        self, conversation: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool
    ) -> Any:
        """Return the prompt as text when `tokenize` is False."""


def render(
    tokenizer: ChatTokenizer,
    messages: Sequence[Message],
    *,
    image_token: str,
    system: str | None = None,
    add_generation_prompt: bool = True,
    dialect: str = "brackets100",
) -> str:
    """Write the prompt, with `image_token` once for each image and not yet expanded.

    A tokenizer without a template gets the plain one: `Role: text`, one turn a line.

    Args:
        tokenizer: the model's tokenizer.
        messages: the turns, oldest first.
        image_token: the text that stands for one image.
        system: what the system says, unless the turns begin with a system turn of their own; left out, the template's
            own stands, if it has one.
        add_generation_prompt: end with the opening of the assistant's turn.
        dialect: how the model reads regions, a name of `grounding.DIALECTS`.

    Raises:
        DataError: there is nothing to render, or a text part holds the image token.
        GeoError: a region is not in the frame of the dialect.
    """
    turns = [{"role": message.role, "content": content(message, image_token, dialect)} for message in messages]
    if not turns:
        raise DataError("a prompt needs at least one message", found="none")
    if system is not None and turns[0]["role"] != "system":
        turns.insert(0, {"role": "system", "content": system})
    if tokenizer.chat_template is None:
        return plain(turns, add_generation_prompt)
    prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=add_generation_prompt)
    return str(prompt)


def content(message: Message, image_token: str, dialect: str = "brackets100") -> str:
    """The text of one turn: an image becomes its token and a line end, a region its box.

    Raises:
        DataError: a text part holds the image token, which would count as an image.
        GeoError: a region is not in the frame of the dialect.
    """
    pieces = []
    for part in message.content:
        if part.type == "image":
            pieces.append(f"{image_token}\n")
        elif image_token in part.text:
            raise DataError(
                f"a text may not hold {image_token!r}, it would count as an image",
                found=part.text,
                next_step="pass the image as a part of its own",
            )
        else:
            pieces.append(_words(part, dialect))
    return "".join(pieces)


def plain(turns: Sequence[dict[str, str]], add_generation_prompt: bool) -> str:
    """The template of tokenizers that have none."""
    lines = [f"{turn['role'].capitalize()}: {turn['content']}\n" for turn in turns]
    return "".join([*lines, "Assistant:"] if add_generation_prompt else lines)


def _words(part: Part, dialect: str) -> str:
    if part.type != "region" or part.region is None:
        return part.text
    spoken = grounding.get(dialect)
    if part.region.frame != spoken.frame:
        raise GeoError(
            f"a region for {dialect} is in the frame {spoken.frame}",
            found=part.region.frame,
            next_step="convert it with geo.frames.convert",
        )
    return spoken.write(part.region, 1.0)
