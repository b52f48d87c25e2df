"""Which tokens are learned: of a conversation, every answer and the token that ends it; of a caption, all of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from lhrs_chat.errors import DataError
from lhrs_chat.models.processing import LhrsProcessor
from lhrs_chat.schema import Message
from lhrs_chat.text.templates import render

IGNORED = -100


@dataclass(frozen=True)
class Labelled:
    """Token ids of one row and whether each is learned, (T,) both; and, where a batch is made of it, the text itself.

    `asked`: characters of the text before the first answer.
    """

    ids: np.ndarray
    learned: np.ndarray
    text: str = ""
    asked: int = 0

    @property
    def labels(self) -> np.ndarray:
        """What each token should be: its id, or `IGNORED`."""
        return np.where(self.learned, self.ids, IGNORED)

    @property
    def answer(self) -> slice:
        """Where the first answer is."""
        start = int(self.learned.argmax())
        rest = self.learned[start:]
        return slice(start, len(self.ids) if rest.all() else start + int((~rest).argmax()))


def label_chat(processor: LhrsProcessor, messages: Sequence[Message], ends: Collection[int]) -> Labelled:
    """Write a conversation as the model's template does; learned is what follows each prompt, to its end token.

    The prompt before an answer is the one that the model gets when it is asked, so that training and asking agree.
    Where the tokens of a prompt change by the answer that follows, the first token that differs is learned too.

    Args:
        processor: of the model.
        messages: the turns; the last one is the assistant's.
        ends: ids that end a turn.

    Raises:
        DataError: there is no answer, or the template does not keep its beginning or does not end an answer.
    """
    written = _encode(processor, messages, opened=False)
    learned = np.zeros(len(written), dtype=bool)
    answers = [number for number, message in enumerate(messages) if message.role == "assistant"]
    if not answers or answers[-1] != len(messages) - 1:
        raise DataError("a conversation to learn from ends with an answer", found=[turn.role for turn in messages])
    for number in answers:
        before = _encode(processor, messages[:number], opened=True)
        after = _encode(processor, messages[: number + 1], opened=False)
        pairs = enumerate(zip(before, after, strict=False))
        start = next((place for place, (one, other) in pairs if one != other), len(before))
        stop = next((end for end in range(len(after), start, -1) if after[end - 1] in ends), None)
        if stop is None or written[:stop] != after[:stop]:
            raise DataError(
                "the chat template does not end an answer, or writes it otherwise when more turns follow",
                found=processor.tokenizer.decode(after[start:]),
                allowed=f"one of {', '.join(processor.tokenizer.convert_ids_to_tokens(sorted(ends)))} at its end",
            )
        learned[start:stop] = True
    return Labelled(np.asarray(written, dtype=np.int32), learned)


def label_question(processor: LhrsProcessor, messages: Sequence[Message]) -> Labelled:
    """Write a question as the model is asked it, its answer and the end token; the last two are learned."""
    asked = _encode(processor, messages[:1], opened=True)
    answer = processor.tokenizer(messages[1].text, add_special_tokens=False).input_ids
    ids = [*asked, *answer, processor.tokenizer.eos_token_id]
    return Labelled(np.asarray(ids, dtype=np.int32), np.arange(len(ids)) >= len(asked))


def label_plain(processor: LhrsProcessor, caption: str) -> Labelled:
    """Write the token that begins a text, the picture, the caption and a line end; the last two are learned.

    This is how the first stage of LHRS-Bot is taught: without a question, a template and an end token.
    """
    words = processor.tokenizer
    begin = [] if words.bos_token_id is None else [words.bos_token_id]
    shown = [*begin, *processor.encode(processor.image_token)]
    said = words(f"{caption}\n", add_special_tokens=False).input_ids
    learned = np.arange(len(shown) + len(said)) >= len(shown)
    return Labelled(np.asarray([*shown, *said], dtype=np.int32), learned)


def _encode(processor: LhrsProcessor, messages: Sequence[Message], *, opened: bool) -> list[int]:
    prompt = render(
        processor.tokenizer,
        messages,
        image_token=processor.image_token,
        system=processor.system,
        add_generation_prompt=opened,
        dialect=processor.dialect,
    )
    return processor.encode(prompt)
