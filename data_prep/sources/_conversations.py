"""Rows of conversation: turns with placeholders for pictures, boxes written in some model's way, and task tags.

A box in a text becomes a region part in the frame it was written in. The words that a box belongs to stay in the text,
so that a model whose way to write boxes has no words still gets the whole sentence. Tags such as `[refer]` are one
model's way to say what is asked: they become the task of the row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from lhrs_chat.errors import DataError
from lhrs_chat.formats.rows import Row
from lhrs_chat.schema import Image, Message, Part, Role, Sample, Targets
from lhrs_chat.text import grounding

IMAGE = "<image>"
DIALOGUE, CAPTION, VQA, SCENE = "dialogue", "caption", "vqa", "scene_class"
REFERRING, GROUNDING, REGION = "referring", "grounding", "region_caption"
SPEAKERS: dict[str, Role] = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant"), "assistant"),
    "system": "system",
    **dict.fromkeys(("function_call", "tool_call"), "assistant"),
    **dict.fromkeys(("observation", "tool_response", "tool"), "user"),
}
TOOLS = ("function_call", "tool_call", "observation", "tool_response", "tool")
_GROUP = re.compile(r"\{[^{}]*\}|\[[^\[\]]*\]")
_BROKEN = re.compile(r"\{\s*<\s*[-\d]")  # how a box begins that no dialect could read
_NO_BOX = re.compile(r"</?p>|<delim>")


@dataclass(frozen=True)
class Turn:
    """What one speaker says: the name that the file gives the speaker, text and regions in order."""

    speaker: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Told:
    """What a row of a file tells beside its turns.

    Args:
        id: of the row.
        source: name of the source.
        licence: terms of pictures and texts.
        scene_id: what rows of one scene share.
        images: the pictures, in the order of their placeholders.
        task: what is asked; '' where the turns must tell it.
        split: train, val or test.
        meta: what else is known.
    """

    id: str
    source: str
    licence: str
    scene_id: str
    images: tuple[Image, ...]
    task: str = ""
    split: str = "train"
    meta: Mapping[str, Any] | None = None


def said(row: Row, name: str = "conversations") -> list[tuple[str, str]]:
    """Speaker and text of each turn: `{from, value}` or `{role, content}`.

    Raises:
        DataError: a turn has no speaker that is known, or no text.
    """
    found = []
    for turn in row.rows(name):
        speaker = turn.one_of("from" if "from" in turn.values else "role", SPEAKERS)
        field = next((key for key in ("value", "content") if key in turn.values), "value")
        if isinstance(turn.values.get(field), list):
            found.append((speaker, "".join(_piece(piece) for piece in turn.rows(field))))
        else:
            found.append((speaker, turn.text(field)))
    if not found:
        raise row.bad(name, "a list of turns")
    return found


def _piece(piece: Row) -> str:
    """A piece of a turn in the chat format of transformers and OpenAI."""
    return piece.text("text") if piece.one_of("type", ("text", "image")) == "text" else IMAGE


def tagged(text: str, tags: Mapping[str, str]) -> tuple[str, str]:
    r"""The task that a tag at the head of a text names ('' without one), and the text without the tag.

    Args:
        text: such as `<image>\n[refer] where is the ship?`.
        tags: the tags that are known, in lower case, and their tasks.
    """
    match = re.match(rf"((?:\s*{IMAGE})*)\s*\[([A-Za-z]{{2,12}})\]\s*", text)
    if match is None or match[2].lower() not in tags:
        return "", text
    return tags[match[2].lower()], f"{match[1]}\n{text[match.end() :]}".strip()


def written(
    text: str, dialect: str, aspect: Callable[[], float], where: str, *, strict: bool = True
) -> tuple[Part, ...]:
    """The parts of a text whose boxes are written in a dialect.

    Args:
        text: of one turn.
        dialect: a name of `grounding.DIALECTS`.
        aspect: tells width / height of the picture; only asked where there is a box.
        where: place of the row, for errors.
        strict: whether all that is written like a box must be one; else the rest stays text.

    Raises:
        DataError: something is written like a box but is none, and that is an error.
    """
    spoken = grounding.get(dialect)
    parts: list[Part] = []
    end = 0
    for match in spoken.markup.finditer(text):
        boxes = spoken.read(match[0], aspect())
        if not boxes or len(boxes) != len(_GROUP.findall(match[0])):
            if not strict:
                continue
            raise DataError(f"{where}: a box that cannot be read", found=ascii(match[0])[:80], allowed=spoken.used_by)
        label = boxes[0].label
        parts.append(Part("text", text=text[end : match.start()] + (f"{label} " if label else "")))
        for place, box in enumerate(boxes):
            parts += [Part("text", text=", ")] if place else []
            parts.append(Part("region", region=replace(box, label=""), image=0))
        end = match.end()
    parts.append(Part("text", text=text[end:]))
    if strict:
        parts = [_plain(part, where) if part.type == "text" else part for part in parts]
    return tuple(part for part in parts if part.type != "text" or part.text)


def _plain(part: Part, where: str) -> Part:
    broken = _BROKEN.search(part.text)
    if broken:
        found = ascii(part.text[broken.start() :])[:80]
        raise DataError(f"{where}: a box that cannot be read", found=found, allowed="{<x1><y1><x2><y2>}")
    return replace(part, text=_NO_BOX.sub("", part.text))


def words(text: str) -> tuple[Part, ...]:
    """The parts of a text without boxes."""
    return (Part("text", text=text),)


def sample(turns: Sequence[Turn], told: Told, where: str) -> Sample:
    """Make the row of a conversation; the boxes of the last answer become its targets.

    Raises:
        DataError: the roles are out of order, the placeholders do not fit the pictures, or an answer is blank.
    """
    _check_order(turns, where)
    messages = _messages(turns, len(told.images), where)
    last = messages[-1]
    answer = plain(last)
    regions = [part for part in last.content if part.region is not None]
    boxes = tuple(part.region for part in regions if part.region is not None)
    if not answer and not boxes:
        raise DataError(f"{where}: the last answer is blank")
    meta = dict(told.meta or {})
    if any(turn.speaker in TOOLS for turn in turns):
        meta["speakers"] = [turn.speaker for turn in turns]
    if any(part.image for part in regions):
        meta["box_images"] = [part.image or 0 for part in regions]
    return Sample(
        id=told.id,
        images=told.images,
        task=told.task or _task(messages),
        source=told.source,
        licence=told.licence,
        scene_id=told.scene_id,
        messages=tuple(messages),
        targets=Targets(answer=answer or None, boxes=boxes),
        split=told.split,
        meta=meta,
    )


def plain(message: Message) -> str:
    """The words of a turn, without its regions."""
    spoken = " ".join(part.text for part in message.content if part.type == "text")
    return re.sub(r"\s+([.,;:!?])", r"\1", re.sub(r"\s+", " ", spoken)).strip(" ,")


def _check_order(turns: Sequence[Turn], where: str) -> None:
    """User and assistant take turns, the assistant is last; calls of tools and their results stand anywhere between."""
    talk = [turn for turn in turns if turn.speaker != "system"]
    roles = [SPEAKERS[turn.speaker] for turn in talk]
    tools = [turn.speaker in TOOLS for turn in talk]
    alternate = all(
        one != other or (tools[place] or tools[place + 1]) for place, (one, other) in enumerate(pairwise(roles))
    )
    system = any(turn.speaker == "system" for turn in turns[1:])
    if not roles or roles[0] != "user" or roles[-1] != "assistant" or not alternate or system:
        found = ", ".join(turn.speaker for turn in turns)
        raise DataError(f"{where}: roles out of order", found=found[:120], allowed="system?, user, assistant, ...")


def _messages(turns: Sequence[Turn], images: int, where: str) -> list[Message]:
    """Put the pictures where their placeholders stand; without any, all stand before the first question."""
    shown = sum(part.text.count(IMAGE) for turn in turns for part in turn.parts if part.type == "text")
    if shown not in (0, images):
        raise DataError(f"{where}: the turns show {shown} pictures", found=shown, allowed=f"{images}, as the row names")
    regions = [part.image or 0 for turn in turns for part in turn.parts if part.region is not None]
    if max(regions, default=-1) >= images:
        raise DataError(f"{where}: a box of a picture that is not there", found=max(regions), allowed=f"below {images}")
    numbers = iter(range(images))
    messages: list[Message] = []
    for turn in turns:
        role = SPEAKERS[turn.speaker]
        parts = _with_pictures(turn.parts, numbers)
        if images and not shown and role == "user" and all(message.role != "user" for message in messages):
            parts = [*(Part("image", image=number) for number in range(images)), *parts]
        if all(part.type == "image" for part in parts):
            raise DataError(f"{where}: a turn without words", found=turn.speaker)
        messages.append(Message(role, tuple(parts)))
    return messages


def _with_pictures(parts: Iterable[Part], numbers: Iterable[int]) -> list[Part]:
    """The parts of a turn with its pictures; a single picture comes before the text, wherever its placeholder stood."""
    found: list[Part] = []
    numbers = iter(numbers)
    for part in parts:
        if part.type != "text":
            found.append(part)
            continue
        for place, text in enumerate(part.text.split(IMAGE)):
            if place:
                found.append(Part("image", image=next(numbers)))
            if text.strip():
                found.append(Part("text", text=text))
    pictures = [part for part in found if part.type == "image"]
    if len(pictures) == 1:
        found = [*pictures, *(part for part in found if part.type != "image")]
    return _trimmed(found)


def _trimmed(parts: Sequence[Part]) -> list[Part]:
    """Without blanks at both ends, and without line ends beside a picture."""
    found: list[Part] = []
    for place, part in enumerate(parts):
        text = part.text
        if part.type == "text":
            first = place == 0 or parts[place - 1].type == "image"
            last = place == len(parts) - 1 or parts[place + 1].type == "image"
            text = text.lstrip() if first else text
            text = text.rstrip() if last else text
        if found and part.type == "text" and found[-1].type == "text":
            found[-1] = replace(found[-1], text=found[-1].text + text)
        else:
            found.append(replace(part, text=text))
    return found


def _task(messages: Sequence[Message]) -> str:
    """What an untagged conversation asks for, from its first question."""
    asked = [message for message in messages if message.role == "user"]
    if len(asked) > 1:
        return DIALOGUE
    question = asked[0].text.lower()
    if re.match(r"\W*(?:classify|categori[sz]e)\b", question):
        return SCENE
    return CAPTION if re.search(r"\b(?:describe|description|caption)\b", question) else VQA


def task_of(tasks: Sequence[str]) -> str:
    """The task of a conversation from those of its questions ('' for an untagged one): the one they share."""
    return tasks[0] if len(set(tasks)) == 1 else DIALOGUE
