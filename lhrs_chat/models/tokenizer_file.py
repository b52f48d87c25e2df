"""Opening the tokenizer of a base language model from its one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from lhrs_chat.errors import WeightsError
from lhrs_chat.models.strict import SENSELESS, first_line, read_json


def open_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Open tokenizer.json as it is. Class names beside it are not followed: some build another pipeline from it.

    The token for padding is the system's matter, so one that is named beside it is not taken either.

    Raises:
        WeightsError: it is missing or damaged, or names no first and last token.
    """
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise WeightsError(
            "the base language model has no tokenizer.json",
            found=str(folder),
            next_step="fetch it; tokenizer.model alone does not tell how every prompt is cut",
        )
    if not isinstance(read_json(file).get("model"), dict):
        raise WeightsError("tokenizer.json holds no tokenizer", found=str(file), next_step="fetch it again")
    named: dict[str, Any] = {}
    for beside in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / beside).is_file():
            named |= {key: value for key, value in read_json(folder / beside).items() if value is not None}
    contents = {key: _content(named.get(key)) for key in ("bos_token", "eos_token", "unk_token")}
    special = {key: content for key, content in contents.items() if content}
    if not {"bos_token", "eos_token"} <= special.keys():
        raise WeightsError("the tokenizer names no first and last token", found=", ".join(special) or "none")
    try:
        made = PreTrainedTokenizerFast(tokenizer_file=str(file), **special)
    except SENSELESS as error:
        raise WeightsError("tokenizer.json cannot be read", found=f"{file}: {first_line(error)}") from error
    made.clean_up_tokenization_spaces = False
    return made


def _content(token: object) -> str:
    """A special token is written as text, or as an object with its text in it; empty where it is neither."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else ""
