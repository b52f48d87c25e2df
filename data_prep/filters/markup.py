"""Left-overs of other programs in the text: placeholders, fields that were never filled, brackets that do not close."""

from __future__ import annotations

import re

from lhrs_chat.schema import Sample

from . import Filter, FilterOptions
from ._texts import everything

_LEFT_OVER = re.compile(
    r"<image\d*>|<img>|</?im(?:age|g)(?:here|placeholder)?\s*/?>|<\|image[^|]*\|>|\[(?:img|image|insert[^\]]*)\]"
    r"|\{\{?\s*[a-z_]\w*\s*\}?\}|<(?:unk|pad|s|eos|bos)>|</s>|<\|(?:im_start|im_end|endoftext|eot_id)\|>"
    r"|\blorem ipsum\b|\bas an ai language model\b|\[your [^\]]+\]",
    re.IGNORECASE,
)
_NOTHING = re.compile(r"(?:nan|null|none|n/a|undefined|\[\]|\{\})\.?", re.IGNORECASE)
_TAG = re.compile(r"<(/?)([A-Za-z][\w-]*)>")
_LISTED = re.compile(r"(?:^|(?<=\s))\w{1,3}\)(?=\s)")  # 1) and a) begin the items of a list
_SMILEY = re.compile(r"[:;]-?[()]")
_CLOSES = {")": "(", "]": "[", "}": "{"}


def check(sample: Sample, options: FilterOptions) -> str | None:
    """Judge every text of the row; `none` is an answer to a question, but no caption."""
    for where, text in everything(sample):
        found = _LEFT_OVER.search(text)
        if found:
            return f"{where} holds the left-over {found[0]!r}"
        if not sample.messages and _NOTHING.fullmatch(text.strip()):
            return f"{where} is {text.strip()!r}"
        if text.count("```") % 2:
            return f"{where} opens a code block and does not close it"
        unbalanced = _unbalanced_tag(text) or _unbalanced_bracket(text)
        if unbalanced:
            return f"{where} {unbalanced}"
    return None


def _unbalanced_tag(text: str) -> str | None:
    open_tags: list[str] = []
    for closing, name in _TAG.findall(text):
        if not closing:
            open_tags.append(name)
        elif not open_tags or open_tags.pop() != name:
            return f"closes </{name}>, which is not open"
    return f"does not close <{open_tags[-1]}>" if open_tags else None


def _unbalanced_bracket(text: str) -> str | None:
    text = _SMILEY.sub("", text)
    items = {item.end() - 1 for item in _LISTED.finditer(text)}
    opened: list[str] = []
    for place, sign in enumerate(text):
        if sign in _CLOSES.values():
            opened.append(sign)
        elif sign in _CLOSES:
            if not opened and place in items:
                continue
            if not opened or opened.pop() != _CLOSES[sign]:
                return f"closes {sign!r}, which is not open"
    return f"does not close {opened[-1]!r}" if opened else None


FILTER = Filter(check)
